"""A text finds the moment of a film and the page of a PDF, by the command and in plain SQL.

The demonstration's model, which knows images and texts alone, and its drawings as what is shown.
"""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import ModelError
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.databases import database_url
from tests.helpers.demo_pairs import SAMPLES
from tests.helpers.media import film, sound, tone

pytest.importorskip("av", reason="needs the extra [video]")
pytest.importorskip("pypdfium2", reason="needs the extra [documents]")

SIZE = 160
SECONDS, RATE = 2, 5  # of each drawing in the film
IN_FILM = ("red-heart", "snowman", "bicycle", "banana")
IN_DOCUMENT = ("guitar", "umbrella", "pizza")


def drawings() -> dict[str, Image.Image]:
    """By key."""
    lines = (SAMPLES / "manifest.jsonl").read_text().splitlines()
    records = {record["key"]: record for record in map(json.loads, lines)}
    found = {}
    for key in (*IN_FILM, *IN_DOCUMENT):
        with Image.open(SAMPLES / records[key]["image"]) as image:
            own = image.convert("RGBA").resize((SIZE, SIZE))
        found[key] = Image.alpha_composite(Image.new("RGBA", own.size, "white"), own).convert("RGB")
    return found


class Moments:
    """A database into which a folder with a film, a document and a sound was added.

    The commands run in this process, which loads torch once for all of them.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def __call__(self, *arguments: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("DATABASE_URL", self.url)
            return CliRunner().invoke(app, [*arguments])

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def moments(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Moments:
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE films_and_documents")
    url, folder = (
        database_url(server.url(), "films_and_documents"),
        tmp_path_factory.mktemp("media"),
    )
    shown = drawings()
    media = folder / "media"
    media.mkdir()
    frames = [np.asarray(shown[key]) for key in IN_FILM for _ in range(SECONDS * RATE)]
    (media / "drawings.mp4").write_bytes(film(frames, rate=RATE))
    pages, file = [shown[key] for key in IN_DOCUMENT], io.BytesIO()
    pages[0].save(file, "PDF", save_all=True, append_images=pages[1:])
    (media / "drawings.pdf").write_bytes(file.getvalue())
    (media / "tone.wav").write_bytes(sound(tone(16_000, 0.5), 16_000))
    moments = Moments(url, folder)
    assert moments("migrate", "--model", "demo").exit_code == 0
    assert moments.json("add", "media")["added"] == 3
    report = moments.json("ingest")
    assert (report["done"], report["failed"]) == (2, 0)
    assert report["items"] == len(IN_FILM) + len(IN_DOCUMENT)
    return moments


@pytest.mark.parametrize("key", IN_FILM)
def test_a_text_finds_the_moment(moments: Moments, key: str) -> None:
    (found,) = moments.json("search", key.replace("-", " "), "--modality", "video")
    start = SECONDS * IN_FILM.index(key)
    notes = found["metadata"]["_pipeline"]
    assert (notes["start"], notes["end"]) == pytest.approx((start, start + SECONDS), abs=0.25)


@pytest.mark.parametrize("key", IN_DOCUMENT)
def test_a_text_finds_the_page_in_plain_sql(moments: Moments, key: str) -> None:
    query = key.replace("-", " ")
    moments("search", query)  # so that its vector is there
    with connect(moments.url) as connection:
        row = connection.execute(
            "SELECT (metadata -> '_pipeline' ->> 'page')::integer FROM multimodal_items "
            "WHERE modality = 'document' ORDER BY embedding <=> text_embedding(%s) LIMIT 1",
            (query,),
        ).fetchone()
    assert row == (1 + IN_DOCUMENT.index(key),)


def test_the_sound_waits_for_another_model_and_the_status_says_so(moments: Moments) -> None:
    rows = {row["modality"]: row for row in moments.json("status")}
    assert rows["video"]["items"] == len(IN_FILM)
    assert rows["document"]["items"] == len(IN_DOCUMENT)
    assert (rows["audio"]["space"], rows["audio"]["unsupported"]) == (None, 1)


def test_a_film_is_a_query_and_the_sheet_plays_what_was_found(moments: Moments) -> None:
    sheet = moments.folder / "sheet.html"
    done = moments("search", "--video", "media/drawings.mp4", "-k", "2", "--sheet", str(sheet))
    assert done.exit_code == 0, done.stderr
    assert "drawings.mp4 (0:0" in done.stdout
    assert "drawings.pdf (page " in done.stdout
    page = sheet.read_text()
    assert len(re.findall(r"<video controls [^>]*#t=[0-9.]+", page)) == 1
    assert page.count("data:image/webp") == 3  # the query, the film's frame, the page


def test_a_sound_as_a_query_is_refused_in_a_sentence(moments: Moments) -> None:
    for option in ("--audio", "--file"):
        done = moments("search", option, "media/tone.wav")
        assert done.exit_code == 1
        assert isinstance(done.exception, ModelError)
        assert "no encoder for audio queries; it has: text, image, video, document" in str(
            done.exception
        )
