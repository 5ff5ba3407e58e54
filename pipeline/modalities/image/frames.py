"""How many frames or pages an image file has, by walking its blocks and decoding none.

Pillow's ``n_frames`` parses (GIF) or loads the tags of (TIFF) every frame, without a bound.
"""

_MAX_FRAMES = 10_000  # counting stops here
_MAX_BLOCKS = 1_000_000


def count_gif_frames(data: bytes) -> int | None:
    """Frames of a GIF; None where its blocks cannot be followed to the trailer."""
    try:
        position = 13 + _colour_table(data[10])
        frames = 0
        for _ in range(_MAX_BLOCKS):
            kind = data[position]
            if kind == 0x3B or frames >= _MAX_FRAMES:
                return frames or None
            if kind == 0x2C:
                frames += 1
                position += 11 + _colour_table(data[position + 9])
            elif kind == 0x21:
                position += 2
            else:
                return None
            while size := data[position]:
                position += 1 + size
            position += 1
    except IndexError:
        pass
    return None


def _colour_table(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def count_tiff_pages(data: bytes) -> int | None:
    """Pages of a TIFF or BigTIFF; None where the chain of directories is broken."""
    big = 43 in data[2:4]
    size, count_size, entry_size = (8, 8, 20) if big else (4, 2, 12)

    def number(at: int, length: int) -> int:
        if at + length > len(data):
            raise IndexError
        part = data[at : at + length]
        return int.from_bytes(part, "little" if data.startswith(b"II") else "big")

    seen: set[int] = set()
    try:
        position = number(8 if big else 4, size)
        while position and position not in seen and len(seen) < _MAX_FRAMES:
            entries = number(position, count_size)
            seen.add(position)
            position = number(position + count_size + entries * entry_size, size)
    except IndexError:
        return None
    return len(seen) or None
