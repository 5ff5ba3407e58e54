"""What a camera wrote is among an image's notes, and nothing that it wrote can harm."""

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

from pipeline.errors import PermanentRowError
from pipeline.modalities import IMAGE, ReadOptions
from pipeline.modalities.image.rendering import Limits, render

PLAIN, WITH_PLACE = Limits(10_000, 1_000), Limits(10_000, 1_000, keep_gps=True)
LISBON = {1: "N", 2: (38.0, 42.0, 30.6), 3: "W", 4: (9.0, 8.0, 13.2)}


def shot(kind: str = "JPEG", gps: dict[int, Any] | None = None, **tags: Any) -> bytes:
    """A 6 x 4 image with these tags of EXIF, by their names."""
    exif = Image.Exif()
    for name, value in tags.items():
        tag = ExifTags.Base[name].value
        own = tag >= 0x8000
        (exif.get_ifd(ExifTags.IFD.Exif) if own else exif)[tag] = value
    if gps is not None:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    file = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(file, kind, exif=exif)
    return file.getvalue()


def notes_of(data: bytes, limits: Limits = PLAIN) -> dict[str, Any]:
    notes = render(data, limits)[1]
    json.dumps(notes, allow_nan=False)
    return notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_date_camera_and_size_are_read(kind: str) -> None:
    notes = notes_of(
        shot(
            kind, Make="NIKON CORPORATION", Model="NIKON D750", Orientation=6,
            DateTimeOriginal="2024:05:01 12:34:56", OffsetTimeOriginal="+02:00",
            DateTime="2025:01:01 00:00:00", gps=LISBON,
        )
    )  # fmt: skip
    assert notes["taken_at"] == "2024-05-01T12:34:56+02:00"
    assert notes["camera"] == "NIKON D750"
    assert (notes["width"], notes["height"]) == (4, 6)
    assert "gps" not in notes


def test_the_place_is_read_only_where_that_is_asked_for() -> None:
    data = shot(gps=LISBON)
    assert notes_of(data, WITH_PLACE)["gps"] == {"lat": 38.7085, "lon": -9.137}
    assert "gps" not in notes_of(data)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("Canon", None, "Canon"),
        ("  FUJIFILM  ", "X-T5\0\0junk", "FUJIFILM X-T5"),
        ("a\x01b", "", "a b"),
        ("", "", None),
        ("x" * 5_000, "y", "x" * 100),
    ],
)
def test_a_camera_is_make_and_model(make: str, model: str | None, camera: str | None) -> None:
    tags = {"Make": make} | ({} if model is None else {"Model": model})
    assert notes_of(shot(**tags)).get("camera") == camera


@pytest.mark.parametrize(
    "when", ["0000:00:00 00:00:00", "2024:13:01 00:00:00", "", "    :  :     :  :  ", "yesterday"]
)
def test_a_date_that_is_none_is_left_out(when: str) -> None:
    assert "taken_at" not in notes_of(shot(DateTimeOriginal=when))
    scanned = shot(DateTimeOriginal=when, DateTimeDigitized="2001:02:03 04:05:06")
    assert notes_of(scanned)["taken_at"] == "2001-02-03T04:05:06"


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: (38.0, 42.0, 30.6)},
        {**LISBON, 2: (IFDRational(0, 0), 0.0, 0.0)},
        {**LISBON, 2: (91.0, 0.0, 0.0)},
        {**LISBON, 3: "X"},
        {**LISBON, 4: (9.0,)},
    ],
)
def test_a_place_that_is_none_is_left_out(gps: dict[int, Any]) -> None:
    assert "gps" not in notes_of(shot(gps=gps, Model="m"), WITH_PLACE)


def test_broken_exif_leaves_the_image() -> None:
    data = shot(Model="m" * 40, DateTimeOriginal="2024:05:01 12:34:56")
    start = data.index(b"Exif") + 6
    for place in range(start, start + int.from_bytes(data[start - 8 : start - 6]) - 8, 3):
        notes = notes_of(data[:place] + b"\xff" + data[place + 1 :], WITH_PLACE)
        assert notes["format"] == "JPEG"


@pytest.mark.parametrize("keep_gps", [True, False])
def test_notes_of_equal_content_are_kept_without_the_files_and_the_place(keep_gps: bool) -> None:
    encoder: Any = SimpleNamespace(fit=None)
    own = {"format": "JPEG", "width": 6, "height": 4, "camera": "m"}
    place = {"gps": {"lat": 1.0, "lon": 2.0}}
    with IMAGE.reader(encoder, ReadOptions(keep_gps=keep_gps)) as reader:
        kept = reader.kept_notes({**own, **place, "etag": "x", "size": 7, "mtime": "y"})
        assert kept == (own | place if keep_gps else own)
        assert reader.kept_notes({"size": 7}) is None


def test_the_limits_of_pillow_are_the_applications_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123_456_789)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(PermanentRowError, match="ends too early"):
        render(shot()[:-20], PLAIN)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (123_456_789, True)
