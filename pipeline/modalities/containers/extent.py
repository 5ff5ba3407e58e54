"""Whether a film's file ends before its own boxes say that it does."""

from collections.abc import Iterator

from pipeline.modalities.containers import sniff

_FILLED = {b"mdat", b"moov", b"moof"}
_SEGMENT = b"\x18\x53\x80\x67"
_MOST_BOXES = 100_000


def ends_early(data: bytes, name: str) -> bool:
    """Of MP4/QuickTime, Matroska and AVI, which say how long they are; others do not."""
    if name == sniff.MOV:
        return any(kind in _FILLED and end > len(data) for kind, end in _boxes(data))
    if name == sniff.MATROSKA:
        return _end_of_segment(data) > len(data)
    if name == sniff.AVI:
        return 8 + int.from_bytes(data[4:8], "little") > len(data) + 1  # one may be padding
    return False


def is_protected(data: bytes, name: str) -> bool:
    """Whether an MP4's samples are encrypted (ISO/IEC 23001-7), by the boxes that say so."""
    if name != sniff.MOV:
        return False
    return b"sinf" in data and b"schm" in data and (b"encv" in data or b"enca" in data)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """(type, where it ends) of every box on the top level, as far as they follow each other."""
    start = 0
    for _ in range(_MOST_BOXES):
        if start + 8 > len(data):
            return
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        elif size == 0:
            size = len(data) - start
        if size < 8:
            return
        start += size
        yield kind, start


def _end_of_segment(data: bytes) -> int:
    """0 where it does not say: a live recording."""
    start = data.find(_SEGMENT, 0, 4096)
    if start < 0 or start + 5 > len(data) or not (first := data[start + 4]):
        return 0
    length = 9 - first.bit_length()
    digits = data[start + 4 : start + 4 + length]
    size = int.from_bytes(digits, "big") & ((1 << 7 * length) - 1)
    return 0 if size == (1 << 7 * length) - 1 else start + 4 + length + size
