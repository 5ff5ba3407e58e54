"""`pipeline search --sheet` and `--open`, and where the files of a table are."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.search.places import common_folder, place_in
from tests.helpers.command import pipeline
from tests.helpers.databases import database_url
from tests.helpers.terminal import on_a_terminal

pytestmark = pytest.mark.timeout(900)  # a model is loaded by several commands

SAMPLES = Path(__file__).parents[2] / "pipeline" / "demo" / "samples" / "images"
HOSTILE = '<script>alert(1)</script> a pizza & "more" </title>'


Search = Callable[..., Any]


@dataclass(frozen=True)
class Photos:
    """Two files of one name in two folders, another format, and a text, all embedded."""

    folder: Path
    url: str


@pytest.fixture(scope="module")
def photos(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    home = tmp_path_factory.mktemp("sheet")
    for name, folder in (("pizza", "2019/summer"), ("bicycle", "2020")):
        place = home / "photos" / folder
        place.mkdir(parents=True)
        shutil.copy(SAMPLES / f"{name}.webp", place / "image.webp")
    with Image.open(SAMPLES / "taco.webp") as taco:
        taco.convert("CMYK").save(home / "photos" / "print.tif")
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE sheet")
    found = Photos(home / "photos", database_url(server.url(), "sheet"))
    with pytest.MonkeyPatch.context() as patch:
        run = in_this_process(patch, home, found.url)
        for arguments in (
            ("migrate", "--model", "demo"),
            ("add", "photos", "--metadata", '{"caption": "<b>mine</b>"}'),
            ("add", "--text", HOSTILE),
            ("ingest",),
        ):
            done = run(*arguments)
            assert done.exit_code == 0, done.stderr
    return found


def in_this_process(patch: pytest.MonkeyPatch, folder: Path, url: str) -> Search:
    """Runs a command in a folder, and loads torch once for all of them."""
    patch.chdir(folder)
    patch.setenv("DATABASE_URL", url)
    return lambda *arguments: CliRunner().invoke(app, [*arguments])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: Photos) -> Search:
    (tmp_path / "photos").symlink_to(photos.folder)
    return in_this_process(monkeypatch, tmp_path, photos.url)


def test_the_sheet_shows_images_texts_captions_and_numbers(
    run: Search, photos: Photos, tmp_path: Path
) -> None:
    done = run("search", "a pizza <i>", "-k", "4", "--sheet", "sheet.html", "--json")
    assert done.exit_code == 0, done.stderr
    assert f"contact sheet: {tmp_path / 'sheet.html'}" in done.stderr
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    cards = re.findall(r"<li>(.*?)</li>", page, re.DOTALL)
    found = json.loads(done.stdout)
    assert len(cards) == len(found) == 4
    for card, one in zip(cards, found, strict=True):
        shown = unescape(card).replace("<wbr>", "")
        if one["modality"] == "text":
            assert HOSTILE in shown
        else:
            assert 'src="data:image/webp;base64,' in card
            assert one["content_ref"].removeprefix(f"{photos.folder}/") in shown
            assert "<b>mine</b>" in shown
        assert f"{one['rank']} · score {one['score']:.3f}" in shown
        assert f"similarity {one['similarity']:.3f}" in shown
    assert "<title>a pizza &lt;i&gt;</title>" in page
    assert f"Files are below {photos.folder}." in page
    assert not re.search(r"<script|<b>|<a |(?:src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page


def test_the_query_is_shown_where_it_is_an_image(
    run: Search, photos: Photos, tmp_path: Path
) -> None:
    file = "photos/2020/image.webp"
    done = run("search", "--image", file, "-m", "image", "-k", "1", "--sheet", "sheet.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert '<h1><img alt="the query" src="data:image/webp;base64,' in page
    assert "like image.webp</h1>" in page
    assert page.count("data:image/webp") == 2


def test_what_cannot_be_shown_is_a_card_that_says_why(
    run: Search, photos: Photos, tmp_path: Path
) -> None:
    """Also what nobody allowed: whoever writes source items does not choose what a page holds."""
    secret, gone = tmp_path / "secret.webp", photos.folder / "gone.tif"
    shutil.copy(SAMPLES / "taco.webp", secret)
    change = "UPDATE multimodal_items SET content_ref = %s WHERE content_ref = %s"
    swaps = ((photos.folder / "2020" / "image.webp", secret), (photos.folder / "print.tif", gone))
    with connect(photos.url) as connection:
        for right, wrong in swaps:
            connection.execute(change, (str(wrong), str(right)))
        try:
            done = run("search", "a pizza", "-m", "image", "--sheet", "sheet.html")
        finally:
            for right, wrong in swaps:
                connection.execute(change, (str(right), str(wrong)))
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<li>") == 3
    assert page.count("data:image/webp") == 1
    assert page.count("not shown: ") == 2
    assert f"{gone} is not shown: " in done.stderr
    assert f"{secret} is not shown: " in done.stderr


def test_open_opens_the_page_that_it_wrote(photos: Photos, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    environment = {
        "BROWSER": f"{browser} %s",
        "TMPDIR": str(tmp_path),
        "DATABASE_URL": photos.url,
    }
    item = ("search", "--item", "1", "--open")  # without the model, so it is quick
    done = pipeline(tmp_path, *item, "--sheet", "my sheet.html", **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == (tmp_path / "my sheet.html").as_uri()
    done = pipeline(tmp_path, *item, **environment)
    place = Path((tmp_path / "opened").read_text().removeprefix("file://"))
    assert place.parent == tmp_path
    assert place.stat().st_mode & 0o077 == 0  # whose results they are
    assert f"contact sheet: {place}" in done.stderr
    done = pipeline(tmp_path, *item, **{**environment, "BROWSER": "/no/such/browser %s"})
    assert done.returncode == 0
    assert "no browser could be opened; open that file in one" in done.stderr


def test_a_place_that_cannot_be_written_is_refused_before_the_search(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "search", "a pizza", "--sheet", "nowhere/sheet.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the contact sheet cannot be written to nowhere/sheet.html" in done.stderr


def test_a_table_tells_files_of_one_name_apart(run: Search, photos: Photos) -> None:
    done = run("search", "a pizza", "-m", "image")
    assert "2019/summer/image.webp" in done.stdout
    assert "2020/image.webp" in done.stdout
    assert str(photos.folder) not in done.stdout.partition("files are below")[0]
    assert f"files are below {photos.folder}\n" in done.stdout
    command = (sys.executable, "-m", "pipeline", "search", "--item", "1", "-m", "image")
    environment = {**os.environ, "DATABASE_URL": photos.url, "TERM": "xterm", "NO_COLOR": "1"}
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(command, environment, columns=80))
    table, _, folder = shown.partition("files are below")
    assert max(map(len, table.splitlines())) <= 80
    assert folder.strip() == str(photos.folder)
    assert "2019/summer/image.webp" in table


@pytest.mark.parametrize(
    ("references", "folder"),
    [
        (["/a/b/c.jpg", "/a/b/d/c.jpg"], "/a/b"),
        (["/a/b/c.jpg"], "/a/b"),
        (["/a/b.jpg", "/c/b.jpg"], ""),
        (["/ab/c.jpg", "/abc/c.jpg"], ""),
        (["/a/b.jpg", "s3://a/b.jpg"], ""),
        (["s3://a/b/c.jpg", "s3://a/d.jpg"], "s3://a"),
        (["s3://a/b.jpg", "s3://b/b.jpg"], ""),
        (["https://h/a/b.jpg?x=/y/z", "https://h/a/c.jpg"], "https://h/a"),
        (["data:image/png;base64,AA/BB"], ""),
        (["data:image/png;base64,AA/BB", "/a/b/c.jpg"], "/a/b"),
        ([], ""),
    ],
)
def test_the_folder_of_all(references: list[str], folder: str) -> None:
    assert common_folder(references) == folder
    for reference in references:
        place = place_in(folder, reference)
        assert place == reference or f"{folder}/{place}" == reference
