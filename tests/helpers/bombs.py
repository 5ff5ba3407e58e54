"""Small files that cost whoever decodes them much: made here, none is stored."""

import io
import struct

from PIL import Image


def jpeg_of_many_scans(scans: int, side: int) -> bytes:
    """A progressive JPEG, plain grey, whose last scan comes again and again: a few bytes each, for
    each of which a decoder walks over every block of the image."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 90).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + (data[last:-2]) * scans + data[-2:]


def tiff_of_many_strips(strips: int) -> bytes:
    """A TIFF of few pixels that says it has so many strips, all of them the same byte."""
    entries = [
        (256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, 8 + 1), (277, 3, 1, 1), (278, 3, 1, 1),
        (279, 4, strips, 8 + 1 + 4 * strips),
    ]  # fmt: skip
    offsets = struct.pack("<I", 8) * strips
    counts = struct.pack("<I", 1) * strips
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0\0\0\0"
    begin = 8 + 1 + len(offsets) + len(counts)
    return struct.pack("<2sHI", b"II", 42, begin) + b"\x7f" + offsets + counts + directory


def webp_of_one_colour(width: int, height: int) -> bytes:
    """A lossless WebP, whole and valid: some 40 bytes, whatever its size."""
    bits = 0x2F | (width - 1) << 8 | (height - 1) << 22
    # No transform, no cache, no entropy image; five Huffman codes of one symbol each: 0 bits a
    # pixel.
    position = 40

    def put(value: int, count: int) -> None:
        nonlocal bits, position
        bits |= value << position
        position += count

    put(0, 1)  # no transform
    put(0, 1)  # no colour cache
    put(0, 1)  # no meta prefix image
    for _ in range(5):
        put(1, 1)  # a simple code
        put(0, 1)  # of one symbol
        put(0, 1)  # of one bit
        put(0, 1)  # which is 0
    body = bits.to_bytes((position + 7) // 8, "little")
    body += b"\0" * (len(body) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
