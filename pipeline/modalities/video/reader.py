"""Reading films for one encoder of images: frames come back small, fitted to the model."""

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
    """Its content: a list of frames, each with the span that it stands for."""
    spans, *frames = answer.arrays
    content = [
        Still(image_of(frame), {"start": float(start), "end": float(end)})
        for (start, end), frame in zip(spans, frames, strict=True)
    ]
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
