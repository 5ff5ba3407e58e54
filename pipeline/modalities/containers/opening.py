"""A container opened by FFmpeg from memory, and the frames of one of its streams.

FFmpeg is given bytes and the name of a demuxer, never a path; it may open nothing else, decode with
no other codecs than those named, and use one thread, so that the limits of the process hold.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from pipeline.errors import PermanentRowError

VIDEO_CODECS = (
    *("h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg"),
    *("theora", "prores", "dnxhd", "ffv1", "rawvideo", "vc1", "wmv1", "wmv2", "wmv3", "msmpeg4"),
    *("msmpeg4v1", "msmpeg4v2", "h263", "flv", "dvvideo", "huffyuv", "qtrle", "png", "svq3"),
)
AUDIO_CODECS = (
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "libopus", "opus", "vorbis", "flac", "alac"),
    *("ac3", "eac3", "wmav1", "wmav2", "wmapro", "amrnb", "amrwb", "libopencore_amrnb"),
    *("libopencore_amrwb", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le"),
    *("pcm_f32le", "pcm_f64le", "pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw", "adpcm_ms"),
    *("adpcm_ima_wav", "adpcm_ima_qt", "speex"),
)
_MOST_DAMAGE = 0.1  # of the frames; a recording off the air has some that are broken


@dataclass
class Damage:
    """What of a stream could not be decoded."""

    good: int = 0
    bad: int = 0

    def check(self) -> None:
        """Raises PermanentRowError: ``corrupt``: it is too much."""
        if self.bad > _MOST_DAMAGE * (self.good + self.bad):
            raise PermanentRowError(
                "corrupt", f"{self.bad} of {self.good + self.bad} frames are damaged"
            )


@contextmanager
def opened(data: bytes, demuxer: str) -> Iterator[InputContainer]:
    """The container in these bytes.

    Raises:
        PermanentRowError: ``corrupt`` or ``unsupported_format``, also of what is read of it within.
    """
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join((*VIDEO_CODECS, *AUDIO_CODECS)),
        "enable_drefs": "0",
        "max_streams": "64",
    }
    try:
        with av.open(
            io.BytesIO(data), "r", demuxer, options, io_open=_refuse, metadata_errors="replace"
        ) as container:
            yield container
    except (PermanentRowError, MemoryError):
        raise
    except (FFmpegError, OSError, ValueError, ArithmeticError, LookupError) as exc:
        raise PermanentRowError("corrupt", f"it cannot be read: {_brief(exc)}") from exc


def _refuse(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise PermissionError("a container may not open what it names")


def check_codec(stream: VideoStream | AudioStream, allowed: tuple[str, ...]) -> None:
    """Raises PermanentRowError: ``unsupported_format``: nothing decodes this stream, or may."""
    context = stream.codec_context
    name = None if context is None else context.codec.name
    if name not in allowed:
        raise PermanentRowError(
            "unsupported_format", f"its codec is {name or 'unknown'}, which is not read"
        )


def frames(container: InputContainer, stream: Any, damage: Damage) -> Iterator[Any]:
    """The decoded frames of one stream; what cannot be decoded is counted and passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
        except MemoryError:
            raise
        except (FFmpegError, ValueError):  # the container ends in the middle of something
            damage.bad += 1
            return
        try:
            decoded = packet.decode()
        except MemoryError:
            raise
        except (FFmpegError, ValueError):
            damage.bad += 1
            continue
        yield from decoded


def _brief(exc: BaseException) -> str:
    """Without the name that PyAV gives to bytes in memory."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)[:160]
