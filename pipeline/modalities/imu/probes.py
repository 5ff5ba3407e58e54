"""The recordings that a space of a model with an encoder of motion is probed with."""

import io

import numpy as np

from pipeline.modalities.imu.recording import COLUMNS

_GRAVITY = 9.81


def recordings() -> list[bytes]:
    """Steps at 200 Hz as an array, and a turn at a rate that varies as a CSV: another resampling,
    another order of channels, another scale."""
    time = np.arange(1000) / 200
    steps = np.zeros((len(time), 6))
    steps[:, 2] = _GRAVITY + 3 * np.abs(np.sin(2 * np.pi * 1.8 * time))
    steps[:, 0] = np.random.default_rng(7).normal(0, 0.4, len(time))
    steps[:, 4] = 0.6 * np.cos(2 * np.pi * 0.9 * time)
    uneven = np.cumsum(0.008 + 0.004 * np.sin(np.arange(300)) ** 2)
    turn = np.zeros((len(uneven), 6))
    turn[:, 1] = _GRAVITY
    turn[:, 5] = np.clip(uneven - 1, 0, 1.5)
    return [_npy(np.column_stack([time, steps])), _csv(np.column_stack([uneven, turn]))]


def _npy(table: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, table, allow_pickle=False)
    return file.getvalue()


def _csv(table: np.ndarray) -> bytes:
    lines = [",".join(COLUMNS), *(",".join(f"{value:.6g}" for value in row) for row in table)]
    return ("\n".join(lines) + "\n").encode()
