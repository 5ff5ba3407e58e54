"""Another sampling rate, by FFmpeg's resampler: a windowed sinc, so that nothing is aliased."""

from collections.abc import Iterable, Iterator

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def resampled(blocks: Iterable[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    """Mono blocks, (n,), as they are at another rate; the first sample stays the first."""
    if rate == wanted:
        yield from blocks
        return
    resampler = av.AudioResampler("flt", "mono", wanted)
    start = 0
    for block in blocks:
        if not len(block):
            continue
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block)[None], "flt", "mono")
        frame.sample_rate = rate
        frame.pts = start
        start += len(block)
        for converted in resampler.resample(frame):
            yield converted.to_ndarray()[0]
    if start:
        for converted in resampler.resample(None):
            yield converted.to_ndarray()[0]


def resampled_whole(samples: Samples, rate: int, wanted: int) -> Samples:
    """The same of samples that are all there."""
    return np.concatenate(list(resampled([samples], rate, wanted)))
