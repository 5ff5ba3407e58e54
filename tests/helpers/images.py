"""Pictures for tests: one sample in every form, and the files that Pillow cannot write."""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]


def sample(width: int = 96, height: int = 64) -> Image.Image:
    """An RGB picture without any symmetry, full range, smooth enough for JPEG."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = [255 * x, 255 * y, 255 * (0.5 + 0.5 * np.cos(5 * x + 3 * y))]
    image = Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, width // 3, height // 3), fill=(230, 20, 30))
    draw.rectangle((width // 2, 2, width // 2 + 9, 11), fill="black")
    draw.rectangle((width // 2 + 20, 2, width // 2 + 29, 11), fill="white")
    draw.ellipse((width // 2, height // 2, width - 5, height - 9), fill=(20, 60, 220))
    return image


def encode(image: Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of the samples, 0 to 255; the sizes must agree."""
    assert one.size == other.size
    return float(np.abs(pixels(one) - pixels(other)).mean())


# -- PNG by hand ---------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    """A PNG around ``rows`` (each with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def lying_png(width: int = 9000, height: int = 9000) -> bytes:
    """88 bytes that claim ``width`` x ``height`` pixels; Pillow opens it without a word."""
    return png(width, height, 8, 2, bytes(range(23)))


# -- TIFF by hand --------------------------------------------------------------------------------


def tiff(array: NDArray[Any], photometric: int = 1, **tags: Sequence[int]) -> bytes:
    """An uncompressed little-endian greyscale TIFF of any sample type.

    Keyword arguments ``t280=(0,)`` add SHORT tags by number.
    """
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    body = array.astype(array.dtype.newbyteorder("<")).tobytes()
    height, width = array.shape
    entries: dict[int, tuple[int, int]] = {
        256: (4, width),
        257: (4, height),
        258: (3, array.dtype.itemsize * 8),
        259: (3, 1),
        262: (3, photometric),
        273: (4, 8),
        277: (3, 1),
        278: (4, height),
        279: (4, len(body)),
        339: (3, kind),
    }
    entries |= {int(name[1:]): (3, values[0]) for name, values in tags.items()}
    directory = struct.pack("<H", len(entries))
    for tag in sorted(entries):
        kind, value = entries[tag]
        directory += struct.pack("<HHII", tag, kind, 1, value)
    body += b"\0" * (len(body) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + b"\0\0\0\0"


# -- ICC profiles by hand ------------------------------------------------------------------------

D50 = (0.9642, 1.0, 0.8249)
# Columns: the XYZ (D50) of red, green and blue
ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78,
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50),
        **tags,
    }
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s12s4s4s", offset + len(body), b"\0" * 4, 0x02400000, kind, space, connection,
        b"\0" * 12, b"acsp", b"\0" * 4,
    )  # fmt: skip
    header += b"\0" * 24 + struct.pack(">I", 0) + _fixed(*D50)
    header = header[:64] + struct.pack(">I", 0) + _fixed(*D50)
    header += b"\0" * (128 - len(header))
    return header + struct.pack(">I", len(tags)) + table + body


def rgb_profile(matrix: Sequence[Sequence[float]], gamma: float) -> bytes:
    """A matrix profile; ``matrix`` as in ``ADOBE_RGB``."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    for index, name in enumerate((b"r", b"g", b"b")):
        column = [row[index] for row in matrix]
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(*column)
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve})


def cmyk_profile(inks: Sequence[tuple[int, int, int]]) -> bytes:
    """A profile of 16 Lab bytes, for every mixture of full inks (C slowest, K fastest)."""
    assert len(inks) == 16
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += ramp * 4 + bytes(value for ink in inks for value in ink) + ramp * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut})


# 32 x 24, made with libjpeg-turbo's `cjpeg -arithmetic`; its Huffman twin decodes to the same
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsL"
    "EBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAYACADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwDSxGnV"
    "4N5q2UP3TK4dN9pt88u18qg477P8PtxzULWivN8415ZrrtiihW7l3hNRd8AQf0m/NH1sjFhSJhUk123LS+Xq/wCR65R5"
    "LbnO17izHeYNZ6Q4py37NNwK6Cxhg1LQ/rt45hFcKNwGqZLnD6zs62CnVXRo8xHSwsjrWthGxILr6ztS0OZ11X34bfvI"
    "Jrhj3UtWWnjpPMxoQD/oWeNaCR2pda0H0P/Z"
)
