"""What a space of a model with an encoder of measured values is probed with."""

import io

import numpy as np
from PIL import Image


def pngs(bits: int) -> list[bytes]:
    """A slope, steps with a hole and noise: another scale, another edge and another crop."""
    y, x = np.mgrid[0:240, 0:320]
    slope = (x + y) / 558
    steps = np.where((x - 200) ** 2 + (y - 90) ** 2 < 900, 0, (x // 40 + 1) / 10)
    noise = np.random.default_rng(7).random((192, 128))
    # Not to the top: of distances in millimetres, those of a room.
    top = 5000 if bits == 16 else 255
    dtype = np.uint16 if bits == 16 else np.uint8
    return [_png(np.rint(values * top).astype(dtype)) for values in (slope, steps, noise)]


def _png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()
