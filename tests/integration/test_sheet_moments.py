"""A contact sheet shows the frame or page that was found, and plays sounds and films from there."""

import base64
import io
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.jobs import NOTES
from pipeline.search import sheet_media
from pipeline.search.results import MultimodalDocument, Neighbour
from pipeline.search.sheet import write_sheet
from pipeline.settings import Settings
from tests.helpers.media import film, scene, sound, tone
from tests.helpers.moments import pages_of, two_shots

pytest.importorskip("av", reason="needs the extra [video]")
pytest.importorskip("pypdfium2", reason="needs the extra [documents]")

Cards = Callable[..., list[str]]


def found(path: Path, modality: str, **notes: Any) -> Neighbour:
    document = MultimodalDocument(hash(path) % 1000, modality, str(path), None, {NOTES: notes})
    return Neighbour(1, document, 1, 0, 0.5, 0.5)


@pytest.fixture
def cards(settings_of: Callable[..., Settings], tmp_path: Path) -> Cards:
    """Writes a page of such results; gives its cards, and notes what is not shown."""
    settings = settings_of("postgresql:///nobody", decode_processes=1)

    def write(*results: Neighbour, asked: Path | None = None) -> list[str]:
        write.missing = write_sheet(  # type: ignore[attr-defined]
            tmp_path / "sheet.html", "a query", results, settings, asked=asked
        )
        page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
        assert "default-src 'none'; img-src data:;\nmedia-src data:; style-src" in page
        assert not re.search(r"<script|<a |(?:src|href|poster)=\"(?!data:)", page)
        write.head = page.partition("<section>")[0]  # type: ignore[attr-defined]
        return [unescape(card) for card in re.findall(r"<li>(.*?)</li>", page, re.DOTALL)]

    return write


def scene_in(card: str, attribute: str) -> int:
    """The number of the scene that the WebP in this attribute shows."""
    data = re.findall(rf'{attribute}="data:image/webp;base64,([^"]+)"', card)[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        pixels = np.asarray(image.convert("RGB").resize((160, 120)), float)
    differences = {n: float(np.abs(pixels - scene(n)).mean()) for n in range(1, 6)}
    return min(differences, key=lambda n: differences[n])


def test_a_film_shows_its_frame_and_plays_from_the_moment_on(cards: Cards, tmp_path: Path) -> None:
    path = tmp_path / "shots.mp4"
    path.write_bytes(two_shots())
    for start, number in ((0.0, 1), (3.0, 2)):
        (card,) = cards(found(path, "video", start=start, end=start + 3))
        assert "<video controls" in card
        assert scene_in(card, "poster") == number
        encoded, _, fragment = re.findall(r'src="data:video/mp4;base64,([^"]+)"', card)[
            0
        ].partition("#")
        assert base64.b64decode(encoded) == two_shots()
        assert fragment == f"t={start:g}"
        assert f"0:0{start:.0f} to 0:0{start + 3:.0f}" in card


def test_a_page_of_a_document_is_shown_by_its_image(cards: Cards, tmp_path: Path) -> None:
    path = tmp_path / "pages.pdf"
    path.write_bytes(pages_of(1, 4, 5))
    for page, number in ((1, 1), (2, 4), (3, 5), (99, 1)):
        (card,) = cards(found(path, "document", page=page, pages=3))
        assert scene_in(card, "src") == number
        assert f"page {page}" in card
        assert "<video" not in card


def test_a_sound_is_played_from_the_moment_on(cards: Cards, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(sound(tone(16_000, 3), 16_000))
    (card,) = cards(found(path, "audio", start=1.5, end=2.5))
    assert re.search(
        r'<audio controls preload="metadata" src="data:audio/wav;base64,[^"]+#t=1.5"', card
    )


@pytest.mark.parametrize("modality", ["video", "audio", "document"])
def test_what_is_something_else_or_lies_elsewhere_is_not_in_the_page(
    cards: Cards, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, modality: str
) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_text("the passwords of everybody")
    (card,) = cards(found(secret, modality, start=0, end=1, page=1))
    assert not re.search("<video|<audio|<img", card)
    outside = tmp_path_factory.mktemp("outside") / "outside.mp4"
    outside.write_bytes(two_shots())
    (card,) = cards(found(outside, modality, start=0, end=1, page=1))
    assert not re.search("<video|<audio|<img", card)
    assert "not shown: the file is outside the media" in card
    assert len(cards.missing) == 1  # type: ignore[attr-defined]


def test_what_is_large_is_shown_and_not_played(
    cards: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.write_bytes(film([scene(3)] * 5))
    large.write_bytes(two_shots())
    monkeypatch.setattr(sheet_media, "_MOST_PLAYED", small.stat().st_size)
    played, shown = cards(*(found(path, "video", start=0, end=1) for path in (small, large)))
    assert "<video" in played
    assert "<video" not in shown
    assert scene_in(shown, "src") == 1


def test_a_page_plays_so_much_in_all(
    cards: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{n}.mp4" for n in range(3)]
    for path in paths:
        path.write_bytes(film([scene(3)] * 5))
    room = 2 * paths[0].stat().st_size
    monkeypatch.setattr(sheet_media, "_MOST_ON_A_PAGE", room)
    shown = cards(*(found(path, "video", start=0, end=1) for path in paths))
    assert sum("<video" in card for card in shown) == 2
    assert sum("<img" in card for card in shown) == 1


def test_notes_that_are_nobodys_harm_nothing(cards: Cards, tmp_path: Path) -> None:
    """Whoever writes source items writes metadata, too."""
    path = tmp_path / "shots.mp4"
    path.write_bytes(two_shots())
    for notes in ({"start": 1e8, "end": 2e8}, {"start": "x"}, {"page": 7}, {}):
        (card,) = cards(found(path, "video", **notes))
        assert scene_in(card, "poster") in (1, 2)
    picture = tmp_path / "a.png"
    Image.fromarray(scene(4)).save(picture)
    (card,) = cards(found(picture, "image", page=3))
    assert scene_in(card, "src") == 4


def test_a_film_that_is_the_query_is_shown_beside_the_title(cards: Cards, tmp_path: Path) -> None:
    path = tmp_path / "shots.mp4"
    path.write_bytes(two_shots())
    cards(found(path, "video", start=0, end=3), asked=path)
    assert scene_in(cards.head, "src") == 1  # type: ignore[attr-defined]
