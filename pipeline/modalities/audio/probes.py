"""The sounds that a space of a model with an encoder of sounds is probed with."""

import io
import wave

import numpy as np
from numpy.typing import NDArray

_RATE = 16_000
_SECONDS = 2


def sounds() -> list[bytes]:
    """WAV, 16 bits: a chord, a rising tone and soft noise, which show another resampling, another
    scale of mel bands and another gain; the last is stereo."""
    time = np.arange(_RATE * _SECONDS) / _RATE
    chord = np.sin(2 * np.pi * np.outer((220.0, 277.2, 329.6), time)).sum(axis=0) / 4
    rising = 0.5 * np.sin(2 * np.pi * (100 + 1500 * time) * time)
    noise = np.random.default_rng(7).standard_normal(len(time)) * 0.02
    return [_wav(chord[:, None]), _wav(rising[:, None]), _wav(np.stack([noise, chord], axis=1))]


def _wav(samples: NDArray[np.float64]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(_RATE)
        out.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return file.getvalue()
