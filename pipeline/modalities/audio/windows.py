"""Where a sound is cut that is longer than a model hears at once."""

from collections.abc import Iterator


def windows(samples: int, length: int, overlap: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each, in samples; all of the same length, unless the sound is shorter.

    A window begins before the one before it ends, so that what is heard at a seam is heard whole
    once; the last one ends with the sound, and may therefore overlap more.

    Args:
        length: of a window.
        overlap: with the window before; at most half of the length is taken.
    """
    step = length - min(overlap, length // 2)
    start = 0
    while start + length < samples:
        yield start, start + length
        start += step
    yield max(0, samples - length), samples
