"""What a decoder process of films does: one frame per segment, with its span."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from pipeline.errors import PermanentRowError
from pipeline.modalities.containers import opening, sniff
from pipeline.modalities.containers.extent import ends_early, is_protected
from pipeline.modalities.decoding.task import Answer, Decode
from pipeline.modalities.video.frames import small_copy, upright
from pipeline.modalities.video.segments import Segmenter
from pipeline.modalities.video.times import Times

Prepare = Callable[[Image.Image], Image.Image]

_MICROSECONDS = 1_000_000
# Containers that know where their key frames are; in others a seek may lead into the middle of a
# picture, and they are read from the beginning.
_INDEXED = {sniff.MOV, sniff.MATROSKA, sniff.AVI}


@dataclass(frozen=True)
class Limits:
    """What a film may measure; see the settings of the same names.

    Attributes:
        only_at: seconds; one frame is wanted, that which is shown then, and nothing else.
    """

    video_segment_seconds: float
    max_media_seconds: float
    max_frame_pixels: int
    max_side: int
    max_parts: int
    max_decoded_bytes: int
    only_at: float | None = None


def decoding(options: dict[str, Any], prepare: Prepare | None) -> Decode:
    """Of films within these limits; ``prepare`` is called with each frame that is given back.

    Its answers have first the spans (float64, (n, 2): seconds), then n frames (uint8,
    (height, width, 3)).
    """
    limits = Limits(**options)
    return lambda data: _decode(data, limits, prepare)


def _decode(data: bytes, limits: Limits, prepare: Prepare | None) -> Answer:
    name = _film(data)
    with opening.opened(data, name) as container:
        stream = _moving_pictures(container)
        opening.check_codec(stream, opening.VIDEO_CODECS)
        context = stream.codec_context
        _check_size(context.width, context.height, limits)
        context.thread_count = 1
        notes: dict[str, Any] = {"format": name, "codec": context.codec.name}
        spans: list[tuple[float, float]] = []
        images: list[Any] = []
        size = 0
        shown = _segments if limits.only_at is None else _shown_at
        for start, end, image in shown(container, stream, limits, prepare):
            pixels = np.asarray(image.convert("RGB"))
            size += pixels.nbytes
            if len(images) == limits.max_parts:
                raise _too_many(limits.max_parts)
            if size > limits.max_decoded_bytes:
                raise PermanentRowError(
                    "too_large",
                    f"its frames take more than {limits.max_decoded_bytes:,} bytes "
                    "(PIPELINE_MAX_DECODED_BYTES)",
                )
            spans.append((start, end))
            images.append(np.ascontiguousarray(pixels))
    if not images:
        raise PermanentRowError("zero_length", "a film without a frame")
    notes |= {"seconds": spans[-1][1]}
    return Answer([np.array(spans, np.float64), *images], notes)


def _film(data: bytes) -> str:
    """The demuxer for these bytes. Raises PermanentRowError."""
    if not data:
        raise PermanentRowError("empty_file", f"empty file; expected {sniff.EXPECTED_VIDEO}")
    name = sniff.container(data)
    if name not in sniff.FILMS:
        what = sniff.name_of(data) if name is None else f"sound ({name})"
        code = "not_a_video" if name is None else "no_video"
        raise PermanentRowError(code, f"this is {what}; expected {sniff.EXPECTED_VIDEO}")
    assert name is not None
    if ends_early(data, name):
        raise PermanentRowError("truncated", "the film's file ends before its boxes do")
    if is_protected(data, name):
        raise PermanentRowError("encrypted", "a film under digital rights management")
    return name


def _moving_pictures(container: InputContainer) -> VideoStream:
    """The first stream of pictures that is no cover. Raises PermanentRowError: ``no_video``."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    raise PermanentRowError("no_video", "there are no moving pictures in it")


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_frame_pixels or max(width, height) > limits.max_side:
        raise PermanentRowError(
            "too_large",
            f"frames of {width} x {height} pixels; expected at most "
            f"{limits.max_frame_pixels:,} (PIPELINE_MAX_FRAME_PIXELS)",
        )


def _too_many(most: int) -> PermanentRowError:
    return PermanentRowError(
        "too_many_parts", f"it has more than {most:,} segments (PIPELINE_MAX_PARTS)"
    )


def _segments(
    container: InputContainer, stream: VideoStream, limits: Limits, prepare: Prepare | None
) -> Iterator[tuple[float, float, Image.Image]]:
    """(start, end, image) of each, in order. Raises PermanentRowError."""
    aspect = stream.sample_aspect_ratio
    damage = opening.Damage()
    segmenter = Segmenter(limits.video_segment_seconds)
    times = Times(container.start_time, stream.average_rate)

    def shown(frame: VideoFrame) -> Image.Image:
        image = upright(frame, aspect)
        return image if prepare is None else prepare(image)

    for frame in opening.frames(container, stream, damage):
        _check_size(frame.width, frame.height, limits)
        damage.bad += frame.is_corrupt
        damage.good += not frame.is_corrupt
        time = times.of(frame)
        if times.end > limits.max_media_seconds:
            raise PermanentRowError(
                "too_long",
                f"a film of more than {limits.max_media_seconds:g} s (PIPELINE_MAX_MEDIA_SECONDS)",
            )
        small = small_copy(frame)
        for segment, chosen in segmenter.add(time, frame, small, is_damaged=frame.is_corrupt):
            yield (*times.span(segment.start, segment.end), shown(chosen.frame))
    damage.check()
    for segment, chosen in segmenter.finish(times.end):
        yield (*times.span(segment.start, segment.end), shown(chosen.frame))


def _shown_at(
    container: InputContainer, stream: VideoStream, limits: Limits, prepare: Prepare | None
) -> Iterator[tuple[float, float, Image.Image]]:
    """(start, end, image) of one frame: that which is shown then, or the last of the film."""
    wanted = limits.only_at or 0.0
    found = None
    if container.format.name.partition(",")[0] in _INDEXED:
        found = _frame_at(container, stream, limits, wanted, go_to=wanted)
        if found is None or found[0] > wanted:
            found = _frame_at(container, stream, limits, wanted, go_to=0.0) or found
    else:
        found = _frame_at(container, stream, limits, wanted)
    if found is not None:
        start, end, frame = found
        image = upright(frame, stream.sample_aspect_ratio)
        yield start, end, image if prepare is None else prepare(image)


def _frame_at(
    container: InputContainer,
    stream: VideoStream,
    limits: Limits,
    wanted: float,
    *,
    go_to: float | None = None,
) -> tuple[float, float, VideoFrame] | None:
    """(start, end, frame) of the last frame that begins by then; of the first one after that, where
    there is none before; None: there is none.

    Args:
        go_to: read from the key frame before it (seconds); None: from the beginning.
    """
    if go_to is not None:
        with suppress(FFmpegError, ValueError):
            begins = container.start_time or 0
            container.seek(begins + int(go_to * _MICROSECONDS), backward=True)
    times, found = Times(container.start_time, stream.average_rate), None
    for frame in opening.frames(container, stream, opening.Damage()):
        _check_size(frame.width, frame.height, limits)
        time = times.of(frame)
        if found is not None and time > wanted:
            break
        found = (time, times.end, frame)
    return found
