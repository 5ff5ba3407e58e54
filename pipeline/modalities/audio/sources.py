"""Blocks of samples out of a file: by libsndfile what it reads, by FFmpeg everything else."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.errors import PermanentRowError
from pipeline.modalities.containers import opening, sniff

Samples = NDArray[np.float32]

_BY_LIBSNDFILE = {
    *(sniff.WAV, sniff.FLAC, sniff.AIFF, sniff.AU, sniff.CAF, sniff.W64, sniff.MP3, sniff.OGG),
}
_BLOCK = 2**18  # samples of all channels
_MOST_CHANNELS = 64
_RATES = (1000, 768_000)


@dataclass(frozen=True)
class Sound:
    """A file that was opened.

    Attributes:
        rate: samples per second.
        blocks: each (n, channels).
    """

    rate: int
    channels: int
    codec: str
    blocks: Iterator[Samples]


def opened(data: bytes, name: str) -> AbstractContextManager[Sound]:
    """The sound in these bytes; what is wrong with its blocks is a PermanentRowError, too."""
    if name in _BY_LIBSNDFILE and not (name == sniff.OGG and not _knows(data)):
        return _by_libsndfile(data, name)
    return _by_ffmpeg(data, name)


def _knows(data: bytes) -> bool:
    """Whether it is a codec within Ogg that libsndfile has, and no film."""
    head = data[:4096]
    codecs = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC")
    return any(codec in head for codec in codecs) and b"\x80theora" not in head


@contextmanager
def _by_libsndfile(data: bytes, name: str) -> Iterator[Sound]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check(file.samplerate, file.channels)
            yield Sound(file.samplerate, file.channels, file.subtype, _blocks_of(file))
    except soundfile.SoundFileError as exc:
        text = str(getattr(exc, "error_string", exc))
        code = "unsupported_format" if "unimplemented" in text.lower() else "corrupt"
        raise PermanentRowError(code, f"the {name} cannot be read: {text}"[:160]) from exc


def _blocks_of(file: soundfile.SoundFile) -> Iterator[Samples]:
    frames = max(1, _BLOCK // file.channels)
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        yield block


@contextmanager
def _by_ffmpeg(data: bytes, name: str) -> Iterator[Sound]:
    demuxer = {sniff.MP3: "mp3"}.get(name, name)
    with opening.opened(data, demuxer) as container:
        if not container.streams.audio:
            raise PermanentRowError("no_audio", "there is no sound in it")
        stream = container.streams.audio[0]
        opening.check_codec(stream, opening.AUDIO_CODECS)
        stream.codec_context.thread_count = 1
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        _check(rate, channels)
        damage = opening.Damage()
        codec = stream.codec_context.codec.name
        yield Sound(rate, channels, codec, _blocks_of_stream(container, stream, damage))
        damage.check()


def _blocks_of_stream(container: Any, stream: Any, damage: opening.Damage) -> Iterator[Samples]:
    """As float, planar, of the rate and the channels that the stream had at its beginning."""
    context = stream.codec_context
    resampler = av.AudioResampler("fltp", context.layout, context.sample_rate)
    for frame in opening.frames(container, stream, damage):
        damage.bad += frame.is_corrupt
        damage.good += not frame.is_corrupt
        frame.pts = None
        for converted in resampler.resample(frame):
            yield converted.to_ndarray().T.astype(np.float32, copy=False)


def _check(rate: int, channels: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1] or not 1 <= channels <= _MOST_CHANNELS:
        raise PermanentRowError(
            "corrupt",
            f"a sound of {channels} channels at {rate} Hz; expected 1 to {_MOST_CHANNELS} at "
            f"{_RATES[0]:,} to {_RATES[1]:,}",
        )
