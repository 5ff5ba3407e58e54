"""Motion drawn, for people to look at."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_SIZE = 960, 540
_MOST_POINTS = 2000
_COLOURS = ((31, 119, 180), (214, 90, 20), (44, 140, 44))  # x, y, z


def plotted(
    times: npt.NDArray[np.float64],
    values: npt.NDArray[np.float32],
    span: tuple[float | None, float | None] | None,
) -> Image.Image:
    """Acceleration in the upper half, rotation in the lower, each by its own range."""
    start, end = (0.0, float(times[-1]))
    if span is not None and span[0] is not None and span[1] is not None:
        start, end = span[0], span[1]
    first, last = np.searchsorted(times, (start, end))
    last = max(int(last), int(first) + 2)
    chosen = slice(int(first), last, max(1, (last - int(first)) // _MOST_POINTS))
    page = Image.new("RGB", _SIZE, (255, 255, 255))
    draw = ImageDraw.Draw(page)
    width, height = _SIZE[0], _SIZE[1] // 2
    x = (times[chosen] - start) / max(end - start, 1e-9) * width
    for number, half in enumerate((values[chosen, :3], values[chosen, 3:])):
        top = number * height
        low, high = (float(half.min()), float(half.max())) if half.size else (0.0, 1.0)
        scale = (height - 20) / max(high - low, 1e-9)
        if low < 0 < high:
            draw.line((0, top + 10 + high * scale, width, top + 10 + high * scale), (190, 190, 190))
        for channel, colour in zip(half.T, _COLOURS, strict=True):
            y = top + 10 + (high - channel) * scale
            points = list(zip(x.tolist(), y.tolist(), strict=True))
            for one, other in pairwise(points):
                draw.line((one, other), colour, 3)
    draw.line((0, height, width, height), (120, 120, 120))
    return page
