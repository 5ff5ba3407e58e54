"""Malformed pictures: seeded mutations of good ones in every format, and hand-made ones.

The same seed gives the same files, so a failure can be repeated by its name.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.helpers.images import (
    ADOBE_RGB,
    ARITHMETIC_JPEG,
    encode,
    lying_png,
    png,
    png_chunk,
    rgb_profile,
    sample,
    tiff,
)


@dataclass(frozen=True)
class Malformed:
    """``code`` is the expected one; None where a mutation may also leave a readable picture."""

    name: str
    data: bytes
    code: str | None = None


def good_pictures() -> dict[str, bytes]:
    """Small pictures that exercise the formats' variants."""
    image = sample(48, 32)
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    more = {"save_all": True, "append_images": [Image.new("RGB", image.size, "blue")]}
    profile = rgb_profile(ADOBE_RGB, 2.2)
    return {
        "jpeg": encode(image, "JPEG", quality=90),
        "jpeg-progressive": encode(image, "JPEG", progressive=True, icc_profile=profile),
        "jpeg-arithmetic": ARITHMETIC_JPEG,
        "jpeg-cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image, "PNG"),
        "png-alpha": encode(clear, "PNG", icc_profile=profile),
        "png-palette": encode(image.quantize(16), "PNG", transparency=3),
        "png-animated": encode(image, "PNG", **more),
        "webp": encode(image, "WEBP"),
        "webp-lossless": encode(clear, "WEBP", lossless=True),
        "webp-animated": encode(image, "WEBP", **more),
        "gif": encode(image, "GIF"),
        "gif-animated": encode(image, "GIF", **more),
        "tiff": encode(image, "TIFF"),
        "tiff-lzw": encode(image, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encode(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": encode(image, "TIFF", compression="jpeg"),
        "tiff-group4": encode(image.convert("1"), "TIFF", compression="group4"),
        "tiff-float": tiff(np.asarray(image.convert("L")).astype(np.float32)),
        "bmp": encode(image, "BMP"),
        "bmp-palette": encode(image.quantize(16), "BMP"),
        "avif": encode(image, "AVIF"),
        "avif-alpha": encode(clear, "AVIF"),
    }


def truncated() -> Iterator[Malformed]:
    """Every good picture cut at every tenth of its length."""
    for name, data in good_pictures().items():
        for tenth in range(10):
            yield Malformed(f"{name} cut at {tenth}/10", data[: len(data) * tenth // 10])


def mutated(seed: int = 20_240_601, per_picture: int = 12) -> Iterator[Malformed]:
    """Bit flips, zeroed runs, cut-out, doubled and foreign pieces, extreme numbers."""
    chance = random.Random(seed)
    pictures = good_pictures()
    for name, data in pictures.items():
        for number in range(per_picture):
            change = chance.choice(_CHANGES)
            other = chance.choice(list(pictures.values()))
            yield Malformed(
                f"{name} {change.__name__.strip('_')} {number} of seed {seed}",
                change(chance, bytearray(data), other),
            )


def _flip_bits(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    for _flip in range(chance.choice((1, 3, 20))):
        data[chance.randrange(4, len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _flip_in_header(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    for _flip in range(chance.choice((1, 2, 5))):
        data[chance.randrange(4, min(len(data), 120))] = chance.randrange(256)
    return bytes(data)


def _zero_run(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    start = chance.randrange(8, len(data))
    length = min(chance.randrange(1, 200), len(data) - start)
    data[start : start + length] = chance.choice((b"\0", b"\xff")) * length
    return bytes(data)


def _cut_out(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    start = chance.randrange(8, len(data))
    del data[start : start + chance.randrange(1, 100)]
    return bytes(data)


def _double(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    start = chance.randrange(8, len(data))
    data[start:start] = data[start : start + chance.randrange(1, 100)]
    return bytes(data)


def _foreign(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    start, origin = chance.randrange(8, len(data)), chance.randrange(len(other))
    length = chance.randrange(1, 200)
    data[start : start + length] = other[origin : origin + length]
    return bytes(data)


def _extreme_number(chance: random.Random, data: bytearray, _: bytes) -> bytes:
    at = chance.randrange(4, min(len(data) - 4, 200))
    number = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFF, 65536))
    data[at : at + 4] = struct.pack(chance.choice("<>") + "I", number)
    return bytes(data)


_CHANGES = (
    _flip_bits,
    _flip_in_header,
    _zero_run,
    _cut_out,
    _double,
    _foreign,
    _extreme_number,
)


def handmade() -> Iterator[Malformed]:
    """Bombs, lies, and what is no picture at all; each with the code it must get."""
    yield from _not_pictures()
    yield from _unsupported()
    yield from _bombs()
    yield from _damaged()


def _not_pictures() -> Iterator[Malformed]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("photo.jpg", encode(sample(), "JPEG"))
    for name, data in {
        "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
        "an HTML page after a comment": b"\n<!-- hi -->\n<html><body>404</body></html>",
        "an XML error": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "JSON": b'{"error": "not found"}',
        "text": b"hello, I am a picture",
        "zero bytes": b"\0" * 4096,
        "random bytes": random.Random(7).randbytes(4096),
        "a ZIP archive": archive.getvalue(),
        "gzip": b"\x1f\x8b\x08" + b"\0" * 50,
        "an ELF program": b"\x7fELF\x02\x01\x01" + b"\0" * 50,
        "an MP4 video": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 50,
        "a WAV file": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 20,
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "two letters of BMP": b"BM, he said, and left",
        "one byte": b"\xff",
    }.items():
        yield Malformed(name, data, "not_an_image")
    yield Malformed("an empty file", b"", "empty_file")


def _unsupported() -> Iterator[Malformed]:
    for name, data in {
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "SVG with entities": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]><svg/>',
        "PSD": b"8BPS\0\1" + b"\0" * 30,
        "FITS": b"SIMPLE  =                    T" + b" " * 50,
        "PDF": b"%PDF-1.7\n",
        "PNM": b"P6 9000 9000 255\n",
        "ICO": b"\0\0\1\0\1\0" + b"\0" * 20,
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 20,
        "JPEG XL": b"\xff\x0a" + b"\0" * 20,
        "QOI": b"qoif" + b"\0" * 20,
        "DDS": b"DDS " + b"\0" * 124,
    }.items():
        yield Malformed(name, data, "unsupported_format")
    yield Malformed(
        "TIFF of 64-bit floats", tiff(np.ones((4, 4), np.float64)), "unsupported_format"
    )


def _bombs() -> Iterator[Malformed]:
    yield Malformed("88 bytes of PNG claiming 9000 x 9000", lying_png(), "too_large")
    rows = zlib.compress(b"\0" * (20_000 * 2_501), 9)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    yield Malformed("a PNG of 400 megapixels", bomb, "too_large")
    yield Malformed("a PNG of one endless row", lying_png(40_000, 1), "too_large")
    yield Malformed("a PNG of 2^31 - 1 squared", lying_png(2**31 - 1, 2**31 - 1), "too_large")
    jpeg = bytearray(encode(sample(), "JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = b"\xff\xff\xff\xff"
    yield Malformed("a JPEG claiming 65535 x 65535", bytes(jpeg), "too_large")
    gif = bytearray(encode(sample(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield Malformed("a GIF claiming 65535 x 65535", bytes(gif), "too_large")
    bmp = bytearray(encode(sample(), "BMP"))
    bmp[18:26] = struct.pack("<II", 2_000_000_000, 1)
    yield Malformed("a BMP claiming 2,000,000,000 x 1", bytes(bmp), "too_large")
    webp = bytearray(encode(sample().convert("RGBA"), "WEBP", lossless=True))
    at = webp.index(b"VP8L") + 9
    webp[at : at + 4] = (int.from_bytes(webp[at : at + 4], "little") | 0x0FFFFFFF).to_bytes(
        4, "little"
    )
    yield Malformed("a WebP claiming 16384 x 16384", bytes(webp), "too_large")
    big = bytearray(tiff(np.zeros((4, 4), np.uint8)))
    for tag in (256, 257):
        at = big.index(struct.pack("<HHI", tag, 4, 1)) + 8
        big[at : at + 4] = struct.pack("<I", 100_000)
    yield Malformed("a TIFF claiming 100,000 x 100,000", bytes(big), "too_large")


def _damaged() -> Iterator[Malformed]:
    whole = encode(sample(), "PNG")
    spoiled = bytearray(whole)
    spoiled[whole.index(b"IDAT") + 40] ^= 1
    yield Malformed("a PNG with one wrong bit", bytes(spoiled), "corrupt")
    yield Malformed("a PNG without its end", whole[:-12], "truncated")
    yield Malformed("a PNG without pixel data", png(4, 4, 8, 0, b"")[:-12], "truncated")
    yield Malformed("a PNG of too few rows", png(40, 40, 8, 0, b"\0" * 41), "truncated")
    jpeg = encode(sample(), "JPEG", quality=95)
    half = jpeg[: len(jpeg) // 2]
    yield Malformed("half a JPEG", half, "truncated")
    yield Malformed("half a JPEG with an end marker", half + b"\xff\xd9", "truncated")
    grey = encode(sample().convert("L"), "JPEG", quality=95)
    yield Malformed("half a grey JPEG, ended", grey[: len(grey) // 2] + b"\xff\xd9", "truncated")
    cmyk = encode(sample().convert("CMYK"), "JPEG", quality=95)
    yield Malformed("half a CMYK JPEG, ended", cmyk[: len(cmyk) // 2] + b"\xff\xd9", "truncated")
    early = encode(Image.new("L", (40, 41)), "TIFF", compression="jpeg")
    yield Malformed("a TIFF with its strips beyond its end", _strip_grown(early), "truncated")
    # 41 x 41, grey, the first three of Adam7's seven passes: the last row has some pixels
    rows = 6 * (b"\0" + 6 * b"\x80") + 6 * (b"\0" + 5 * b"\x80") + 5 * (b"\0" + 11 * b"\x80")
    interlaced = struct.pack(">IIBBBBB", 41, 41, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", interlaced), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    yield Malformed("an interlaced PNG of too few passes", data, "truncated")
    yield Malformed("a JPEG of three bytes", b"\xff\xd8\xff")
    loop = bytearray(tiff(np.zeros((4, 4), np.uint8)))
    yield Malformed("a TIFF whose directory is elsewhere", bytes(loop[:4]) + b"\xff\xff\0\0")
    yield Malformed("a TIFF with its directory in its header", b"II*\0\0\0\0\0")


def _strip_grown(data: bytes) -> bytes:
    """The same TIFF, its first strip said to reach beyond the end."""
    at = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    return data[:at] + struct.pack("<I", len(data)) + data[at + 4 :]
