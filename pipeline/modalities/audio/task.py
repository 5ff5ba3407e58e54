"""What a decoder process of sounds does: mono samples at one rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PermanentRowError
from pipeline.modalities.audio.resampling import resampled
from pipeline.modalities.audio.sources import opened
from pipeline.modalities.containers import sniff
from pipeline.modalities.containers.extent import is_protected
from pipeline.modalities.decoding.task import Answer, Decode

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What a sound may measure; see the settings of the same names.

    Attributes:
        sampling_rate: wanted, samples per second.
    """

    sampling_rate: int
    max_media_seconds: float
    max_decoded_bytes: int


def decoding(options: dict[str, Any], prepare: None) -> Decode:
    """Of sounds within these limits. Its answers have one array: float32, (samples,)."""
    limits = Limits(**options)
    return lambda data: _decode(data, limits)


def _decode(data: bytes, limits: Limits) -> Answer:
    if not data:
        raise PermanentRowError("empty_file", f"empty file; expected {sniff.EXPECTED_AUDIO}")
    name = sniff.container(data)
    if name is None:
        raise PermanentRowError(
            "not_audio", f"this is {sniff.name_of(data)}; expected {sniff.EXPECTED_AUDIO}"
        )
    if is_protected(data, name):
        raise PermanentRowError("encrypted", "a sound under digital rights management")
    with opened(data, name) as sound:
        mono = _mono(sound.blocks)
        samples = _bounded(resampled(mono, sound.rate, limits.sampling_rate), limits)
        notes = {
            "format": name,
            "codec": sound.codec,
            "channels": sound.channels,
            "recorded_at_hz": sound.rate,
        }
    if not len(samples):
        raise PermanentRowError("zero_length", "a sound of 0 samples")
    notes |= {"seconds": round(len(samples) / limits.sampling_rate, 3)}
    return Answer([samples], notes)


def _mono(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """The mean of the channels. Raises PermanentRowError: ``bad_samples``."""
    for block in blocks:
        if not np.isfinite(block).all():
            raise PermanentRowError("bad_samples", "it has samples that are not finite numbers")
        yield block.mean(axis=1, dtype=np.float32)


def _bounded(blocks: Iterable[Samples], limits: Limits) -> Samples:
    """All of them in one. What a header claims plays no part: only what is there."""
    by_time = limits.max_media_seconds * limits.sampling_rate
    by_bytes = limits.max_decoded_bytes // 4
    kept: list[Samples] = []
    count = 0
    for block in blocks:
        count += len(block)
        if count > min(by_time, by_bytes):
            setting = "MAX_MEDIA_SECONDS" if by_time <= by_bytes else "MAX_DECODED_BYTES"
            most = min(by_time, by_bytes) / limits.sampling_rate
            raise PermanentRowError(
                "too_long", f"a sound of more than {most:,.0f} s (PIPELINE_{setting})"
            )
        kept.append(block)
    return np.concatenate(kept) if kept else np.empty(0, np.float32)
