"""What an image tells of itself can be filtered by, wherever it lies and whatever happens to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.helpers import http_server
from tests.helpers.command import Run
from tests.unit.test_image_facts import LISBON, shot

SEARCH = "SELECT content_ref FROM multimodal_items WHERE metadata @> %s::jsonb ORDER BY content_ref"
CAMERA = '{"_pipeline": {"camera": "Canon EOS R5", "width": 6}}'


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "photos" / "a.jpg"
    file.parent.mkdir()
    taken = "2024:05:01 12:34:56"
    file.write_bytes(shot(Make="Canon", Model="Canon EOS R5", DateTimeOriginal=taken, gps=LISBON))
    return file


@pytest.fixture
def url(image: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    content = image.read_bytes()
    monkeypatch.setitem(
        http_server.ANSWERS, "/b.jpg", lambda s, r, c: http_server.answer(c, "200 OK", content)
    )
    with http_server.serving() as server:
        yield server.url("/b.jpg")


def rows(database: str, filtered: str = CAMERA) -> list[str]:
    with psycopg.connect(database) as connection:
        return [ref for (ref,) in connection.execute(SEARCH, (filtered,)).fetchall()]


def test_filters_find_images_by_what_they_tell(
    run: Run, empty_url: str, image: Path, url: str
) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    copy = image.with_name("copy.jpg")
    assert run("add", "photos", "--metadata", '{"tenant": 1}').returncode == 0
    private: dict[str, Any] = {"PIPELINE_HTTP_ALLOW_PRIVATE": "127.0.0.0/8"}

    def ingest(**environment: str) -> None:
        done = run("ingest", "--once", **private, **environment)
        assert done.returncode == 0, done.stderr

    ingest()
    assert rows(empty_url) == [str(image)]
    assert rows(empty_url, '{"tenant": 1, "_pipeline": {"taken_at": "2024-05-01T12:34:56"}}')
    # The same content elsewhere has a vector already, and is not decoded.
    copy.write_bytes(image.read_bytes())
    assert run("add", "photos", url, "--metadata", '{"tenant": 2}').returncode == 0
    ingest()
    everywhere = sorted([str(image), str(copy), url])
    assert rows(empty_url) == everywhere
    assert rows(empty_url, '{"tenant": 2, "_pipeline": {"height": 4}}') == everywhere
    # A change of metadata, and a file that was touched, leave what was read.
    with psycopg.connect(empty_url) as connection:
        connection.execute("UPDATE source_items SET metadata = '{\"tenant\": 3}'")
    image.touch()
    run("rescan", **private)
    ingest()
    assert rows(empty_url) == everywhere
    assert rows(empty_url, '{"tenant": 3}') == everywhere
    with psycopg.connect(empty_url) as connection:
        told = "SELECT count(*) FROM multimodal_items WHERE metadata @? '$._pipeline.gps'"
        assert connection.execute(told).fetchone() == (0,)


def test_where_an_image_was_taken_is_kept_where_a_setting_says_so(
    run: Run, empty_url: str, image: Path
) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    assert run("add", "photos").returncode == 0
    assert run("ingest", "--once", PIPELINE_KEEP_GPS="true").returncode == 0
    place = '{"_pipeline": {"gps": {"lat": 38.7085, "lon": -9.137}}}'
    assert rows(empty_url, place) == [str(image)]
    # Once the setting is off, what is written says it no more.
    image.with_name("copy.jpg").write_bytes(image.read_bytes())
    assert run("add", "photos").returncode == 0
    assert run("ingest", "--once").returncode == 0
    assert rows(empty_url, place) == [str(image)]
    assert len(rows(empty_url)) == 2
