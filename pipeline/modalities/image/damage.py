"""Damage that Pillow decodes without a word: half an image, the rest grey, black or white."""

import io
import re
import zlib
from typing import Any

from PIL import Image, JpegImagePlugin

from pipeline.errors import PermanentRowError


def check_pixels(data: bytes, image: Image.Image, name: str) -> None:
    """Refuse a loaded image whose pixel data ended early behind a proper end marker.

    Raises:
        PermanentRowError: ``truncated``.
    """
    if name == "JPEG" and _ends_in_grey(image):
        _check_jpeg(data, image)
    if name == "PNG" and (image.info.get("interlace") or _ends_in_zeros(image)):
        _check_png_length(data)


# -- JPEG ----------------------------------------------------------------------------------------

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PADDING = bytes(range(1, 128)) * 16


def _ends_in_grey(image: Image.Image) -> bool:
    """libjpeg fills what is missing with mid-grey (127 where CMYK is stored inverted)."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    extrema: Any = last.getextrema()
    bands = [extrema] if len(image.getbands()) == 1 else extrema
    return all(low == high and low in {127, 128} for low, high in bands)


def _check_jpeg(data: bytes, image: Image.Image) -> None:
    """libjpeg warns of missing data, and Pillow hides it: so decode again, with padding behind
    the pixel data. A whole file ignores it; a cut one takes it for pixels, and changes.
    """
    padded = _with_padding(data)
    if padded is None:
        return
    again = JpegImagePlugin.JpegImageFile(io.BytesIO(padded), "")
    again.load()
    if again.tobytes() != image.tobytes():
        raise PermanentRowError(
            "truncated", "the JPEG's pixel data end early: its lower part would be plain grey"
        )


def _with_padding(data: bytes) -> bytes | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            end = _SCAN_END.search(data, position)
            return None if end is None else data[: end.start()] + _PADDING + data[end.start() :]
    return None


# -- PNG -----------------------------------------------------------------------------------------

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def check_png_chunks(data: bytes) -> None:
    """Every critical chunk whole and with its checksum; Pillow does not check those of the pixels.

    Raises:
        PermanentRowError: ``truncated`` or ``corrupt``.
    """
    view, position = memoryview(data), 8
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : position + 8])
        end = position + 8 + length
        if end + 4 > len(data):
            break
        expected = int.from_bytes(view[end : end + 4], "big")
        if not kind[:1].islower() and zlib.crc32(view[position + 4 : end]) != expected:
            raise PermanentRowError("corrupt", f"the PNG's chunk {kind!r} fails its checksum")
        if kind == b"IEND":
            return
        position = end + 4
    raise PermanentRowError("truncated", f"the PNG ends after {len(data)} bytes, before its IEND")


def _ends_in_zeros(image: Image.Image) -> bool:
    return image.crop((0, image.height - 1, image.width, image.height)).getbbox() is None


def _check_png_length(data: bytes) -> None:
    """A zlib stream that ends early leaves rows of zeros."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    bits = data[24] * _SAMPLES.get(data[25], 1)
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    missing = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            missing += rows * (1 + (columns * bits + 7) // 8)
    inflate, position = zlib.decompressobj(), 8
    while missing > 0 and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        part = data[position + 8 : end] if data[position + 4 : position + 8] == b"IDAT" else b""
        while part and missing > 0:
            missing -= len(inflate.decompress(part, 2**20))
            part = inflate.unconsumed_tail
        position = end + 4
    if missing > 0:
        raise PermanentRowError(
            "truncated", "the PNG's pixel data end early: its lower part would be blank"
        )


# -- TIFF ----------------------------------------------------------------------------------------

_STRIPS, _TILES = (273, 279), (324, 325)  # offsets, byte counts


def check_tiff_extents(data: bytes, image: Image.Image) -> None:
    """Every strip or tile inside the file.

    Raises:
        PermanentRowError: ``truncated``.
    """
    tags: Any = getattr(image, "tag_v2", {})
    for offsets, counts in (_STRIPS, _TILES):
        for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
            if offset + count > len(data):
                raise PermanentRowError(
                    "truncated", f"the TIFF ends after {len(data)} bytes, amid its pixel data"
                )
