"""Where one shot ends and the next begins, told from small copies of the frames.

A cut is a frame that differs from the one before it by much more than the frames just before did:
what moves, or flickers, differs as much from frame to frame and is no cut. The same frames always
give the same cuts.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Small = NDArray[np.uint8]
Signature = NDArray[np.float32]

WIDTH, HEIGHT = 128, 72  # of the small copies; in the signatures 2 x 2 pixels are one
_RECENT = 8  # frames that a difference is compared with
_TIMES = 3.0
_LEAST_PIXELS, _MARGIN = 10.0, 4.0  # of 255, the mean over all pixels
_LEAST_COLOURS = 0.35  # share of the pixels whose bin of colour changes
_BINS = 8
_EQUAL_MEAN, _EQUAL_MOST = 2.5, 32.0  # of 255


def signature(small: Small) -> Signature:
    """(36, 64, 3), from 0 to 255."""
    pixels = small.astype(np.float32)
    mean: Signature = pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    return mean


def sharpness(small: Small) -> float:
    """The variance of the Laplacian: less of what moves fast, fades or is out of focus."""
    grey = small.astype(np.float32).mean(axis=2)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((4 * grey[1:-1, 1:-1] - around).var())


def nearly_equal(one: Signature, other: Signature) -> bool:
    """Whether a person would say that the two frames show the same."""
    difference = np.abs(one - other)
    return bool(difference.mean() <= _EQUAL_MEAN and difference.max() <= _EQUAL_MOST)


@dataclass
class CutFinder:
    """Is shown one frame after the other, and says which begin a shot."""

    _before: Signature | None = None
    _colours: NDArray[Any] | None = None
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def is_cut(self, frame: Signature) -> bool:
        """Whether a shot begins with this frame, which follows the one before."""
        colours = _histogram(frame)
        before, self._before = self._before, frame
        colours_before, self._colours = self._colours, colours
        if before is None or colours_before is None:
            return False
        pixels = float(np.abs(frame - before).mean())
        moved = float(np.abs(colours - colours_before).sum()) / 2
        usual = np.mean(self._recent, axis=0) if self._recent else (0.0, 0.0)
        by_pixels = pixels > max(_LEAST_PIXELS, _TIMES * usual[0] + _MARGIN)
        by_colours = moved > max(_LEAST_COLOURS, _TIMES * usual[1]) and pixels > _MARGIN
        self._recent.append((pixels, moved))
        if by_pixels or by_colours:
            self._recent.clear()
            return True
        return False


def _histogram(frame: Signature) -> NDArray[Any]:
    """Of the three channels together: the share of pixels in each of 512 bins."""
    bins = np.minimum((frame * (_BINS / 256)).astype(np.int64), _BINS - 1)
    numbers = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    return np.bincount(numbers.ravel(), minlength=_BINS**3) / numbers.size
