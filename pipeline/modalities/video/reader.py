"""Reading films for one encoder, of images or of films: frames come back small, fitted to it."""

from itertools import islice

from pipeline.modalities.base import Decoded, Encoder, Modality, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader, media_task, require
from pipeline.modalities.decoding.task import Answer, Prepare, Task
from pipeline.modalities.still import Still, fitting, image_of


def task(
    options: ReadOptions,
    encoder: Encoder | None,
    *,
    prepare: Prepare | None = None,
    only_at: float | None = None,
) -> Task:
    """What decodes films within these limits.

    Args:
        prepare: in place of how the encoder fits images.
        only_at: seconds; the frame that is shown then, and no other.
    """
    limits = {
        "only_at": only_at,
        "frames_per_second": float(getattr(encoder, "frames_per_second", 0)),
        "most_frames": int(getattr(encoder, "most_frames", 1)),
        "video_segment_seconds": options.video_segment_seconds,
        "max_media_seconds": options.max_media_seconds,
        "max_frame_pixels": options.max_frame_pixels,
        "max_side": options.max_side,
        "max_parts": options.max_parts,
        "max_decoded_bytes": options.max_decoded_bytes,
    }
    return media_task(
        "pipeline.modalities.video.task",
        "video",
        options,
        limits,
        options.max_frame_pixels,
        prepare or fitting(encoder),
    )


def stills(answer: Answer) -> Decoded:
    """Its content: a list of segments, each with its frames and the span that they stand for."""
    spans, counts, *arrays = answer.arrays
    frames = map(image_of, arrays)
    content = []
    for (start, end), count in zip(spans, counts, strict=True):
        own = tuple(islice(frames, int(count)))
        span = {"start": float(start), "end": float(end)}
        content.append(Still(own[len(own) // 2], span, frames=own))
    return Decoded(content, answer.notes)


class VideoReader(ProcessReader):
    """See :meth:`Modality.decode` of films."""

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options, task(options, encoder))

    def decode(self, data: bytes) -> Decoded:
        require("av", "decoding films", "video")
        return super().decode(data)

    def decoded(self, answer: Answer) -> Decoded:
        return stills(answer)
