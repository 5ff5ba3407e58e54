"""Documents: every page upright, with its number and its text."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import modalities
from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.base import Part, Reader, ReadOptions
from pipeline.modalities.decoding import reader as decoding_reader
from pipeline.modalities.document import DOCUMENT
from tests.helpers.media import StillEncoder, film, pdf, scene, text_of

pytest.importorskip("pypdfium2", reason="needs the extra [documents]")

OPTIONS = ReadOptions(decode_processes=1)
# The standard handler, 40 bits, with a password that nobody knows.
LOCKED = {
    "further": [
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"
    ],
    "trailer": b"/Encrypt 6 0 R /ID [<00> <00>]",
}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with DOCUMENT.reader(StillEncoder(), OPTIONS) as opened:  # type: ignore[arg-type]
        yield opened


def read(reader: Reader, data: bytes) -> list[Part]:
    return reader.parts(reader.decode(data))


def refused(data: bytes, **limits: Any) -> RowError:
    options = ReadOptions(decode_processes=1, **limits)
    with DOCUMENT.reader(StillEncoder(), options) as opened, pytest.raises(RowError) as found:  # type: ignore[arg-type]
        opened.decode(data)
    return found.value


def of_images(*images: Image.Image) -> bytes:
    file = io.BytesIO()
    images[0].save(file, "PDF", save_all=True, append_images=images[1:])
    return file.getvalue()


def test_pages_are_numbered_parts_with_their_images(reader: Reader) -> None:
    scenes = [scene(n, (320, 240)) for n in range(3)]
    parts = read(reader, of_images(*map(Image.fromarray, scenes)))
    assert [part.notes for part in parts] == [
        {"format": "PDF", "page": n, "pages": 3} for n in (1, 2, 3)
    ]
    for part, pixels in zip(parts, scenes, strict=True):
        assert part.content.size == (1024, 768)
        small = np.asarray(part.content.resize((320, 240), Image.Resampling.BOX)).astype(float)
        assert np.abs(small - pixels).mean() < 6
    assert len({part.sha256 for part in parts}) == 3


def test_pages_have_the_text_that_the_file_holds(reader: Reader) -> None:
    decoded = reader.decode(pdf([text_of("Harbour at dawn"), b"", text_of("a red bicycle")]))
    assert [page.text for page in decoded.content] == ["Harbour at dawn", "", "a red bicycle"]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_a_turned_page_is_upright(reader: Reader, rotate: int) -> None:
    """A black square at the page's upper left, as it is before it is turned."""
    (part,) = read(reader, pdf([b"0 g 0 700 92 92 re f"], rotate=rotate))
    assert part.content.size == ((791, 1024), (1024, 791))[rotate % 180 == 90] or (
        part.content.size in ((792, 1024), (1024, 792))
    )
    width, height = part.content.size
    corners = [(9, 9), (width - 9, 9), (width - 9, height - 9), (9, height - 9)]
    dark = [sum(part.content.getpixel(corner)) < 60 for corner in corners]
    assert dark == [n == rotate // 90 for n in range(4)]


def test_a_page_is_rendered_at_a_bounded_size(reader: Reader) -> None:
    for box in ("0 0 14400 14400", "0 0 10 14400", "0 0 1 1", "-50 -50 50 50"):
        (part,) = read(reader, pdf(box=box))
        assert max(part.content.size) == 1024
        assert min(part.content.size) >= 1


def test_what_was_filled_into_a_form_is_seen(reader: Reader) -> None:
    field = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (x) /V (x) /Rect [100 100 500 500] /F 4"
        b" /AP << /N 7 0 R >> >>"
    )
    drawn = b"0 g 0 0 400 400 re f"
    look = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 400 400] /Length %d >>\nstream\n%s\nendstream"
    )
    data = pdf(further=[field, look % (len(drawn), drawn)])
    # Each place in the file moves, which readers put up with.
    data = data.replace(b"/Type /Catalog", b"/Type /Catalog /AcroForm << /Fields [6 0 R] >>")
    data = data.replace(b"/Rotate 0", b"/Rotate 0 /Annots [6 0 R]")
    (part,) = read(reader, data)
    assert sum(part.content.getpixel((512, 640))) < 60


def test_a_broken_table_of_places_is_rebuilt(reader: Reader) -> None:
    data = pdf([text_of("still there")])
    for broken in (
        data.replace(b"startxref\n", b"startxref\n9"),
        data.replace(b"00000 n", b"00001 n"),
    ):
        (page,) = reader.decode(broken).content
        assert page.text == "still there"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"", "empty_file"),
        (lambda: b"<!doctype html><html>", "not_a_document"),
        (lambda: b"PK\x03\x04" + bytes(50), "not_a_document"),
        (lambda: film([scene(1)]), "not_a_document"),
        (lambda: b"%PDF-1.4\n" + bytes(500), "corrupt"),
        (lambda: pdf()[:60], "corrupt"),
        (lambda: pdf()[: pdf().index(b"xref\n0")], "corrupt"),
        (lambda: pdf(**LOCKED), "encrypted"),
        (lambda: pdf([], kids=""), "no_pages"),
        (lambda: pdf(box="0 0 1000000000 1000000000"), "page_too_large"),
        (lambda: pdf(box="0 0 20000 10"), "page_too_large"),
        (lambda: pdf(kids="4 0 R " * 3000, count=3000), "too_many_parts"),
        (lambda: pdf(count=1_000_000), "too_many_parts"),
        (lambda: pdf(kids="4 0 R 99 0 R", count=2), "corrupt"),
    ],
)
def test_what_is_no_document_has_a_code(make: Callable[[], bytes], code: str) -> None:
    error = refused(make())
    assert error.code == code, error.message


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        ({"max_parts": 2}, "too_many_parts", "3 pages; expected at most 2 (PIPELINE_MAX_PARTS)"),
        ({"max_decoded_bytes": 5_000_000}, "too_large", "PIPELINE_MAX_DECODED_BYTES"),
        ({"max_bytes": 100}, "too_large", "expected at most 100"),
        ({"media_cpu_seconds": 0.001}, "too_complex", "PIPELINE_MEDIA_CPU_SECONDS"),
    ],
)
def test_a_document_beyond_a_limit_says_which(limits: dict[str, Any], code: str, says: str) -> None:
    error = refused(pdf([b""] * 3), **limits)
    assert (error.code, says in error.message) == (code, True), error.message


def test_the_encoder_says_how_pages_are_fitted() -> None:
    class Fitted(StillEncoder):
        fit = staticmethod(tiny)

    with DOCUMENT.reader(Fitted(), OPTIONS) as opened:  # type: ignore[arg-type]
        (part,) = read(opened, pdf())
    assert part.content.size == (8, 6)


def tiny(image: Image.Image) -> Image.Image:
    return image.resize((8, 6))


def test_without_the_extra_a_document_says_what_to_install(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_reader, "find_spec", lambda name: None)
    with pytest.raises(PermanentRowError, match=r"pipeline\[documents\]") as found:
        reader.decode(pdf())
    assert found.value.code == "missing_extra"


def test_its_probes_are_documents(reader: Reader) -> None:
    assert [len(read(reader, probe)) for probe in DOCUMENT.probes()] == [1, 2, 1]


def test_documents_are_told_by_their_first_bytes() -> None:
    assert DOCUMENT.sniff(pdf()[:1024])
    assert DOCUMENT.sniff(b"\n" * 99 + pdf())
    assert not DOCUMENT.sniff(b"%!PS-Adobe")


def test_it_is_known_by_its_name_and_its_suffixes() -> None:
    assert modalities.get("document") is DOCUMENT
    assert modalities.of_suffix(".pdf") is DOCUMENT
