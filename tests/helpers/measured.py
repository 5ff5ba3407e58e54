"""Files of measured values: depth, temperatures, motion."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.modalities.imu.recording import COLUMNS


def grey(values: npt.NDArray[Any], form: str = "PNG") -> bytes:
    """An image of one channel, of the type of the values."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def distances(seed: int = 0, shape: tuple[int, int] = (30, 40)) -> npt.NDArray[np.uint16]:
    """Millimetres, with a hole."""
    values = np.random.default_rng(seed).integers(400, 6000, shape).astype(np.uint16)
    values[2:5, 3:9] = 0
    return values


def motion(seconds: float = 6.0, rate: float = 200.0, seed: int = 0) -> npt.NDArray[np.float64]:
    """A table of the seven columns."""
    times = np.arange(round(seconds * rate)) / rate
    turns = np.random.default_rng(seed).uniform(0.2, 3, (1, 6))
    return np.column_stack([times, np.sin(times[:, None] * turns)])


def npy(table: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, table)
    return file.getvalue()


def csv(table: npt.NDArray[Any], header: str = ",".join(COLUMNS)) -> bytes:
    lines = [header, *(",".join(f"{value:.9g}" for value in row) for row in table)]
    return "\n".join(lines).encode()
