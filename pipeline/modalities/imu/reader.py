"""Reading recordings of motion in decoder processes."""

from pipeline.modalities.base import Decoded, Encoder, Modality, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader, media_task
from pipeline.modalities.decoding.task import Answer, Prepare, Task
from pipeline.modalities.imu.recording import Recording


def task(
    options: ReadOptions,
    prepare: Prepare | None = None,
    span: tuple[float | None, float | None] | None = None,
) -> Task:
    """What decodes them within these limits.

    Args:
        prepare: called with a plot, which is the last array of the answers then.
        span: of seconds that the plot shows; None: all.
    """
    limits = {
        "max_media_seconds": options.max_media_seconds,
        "max_decoded_bytes": options.max_decoded_bytes,
        "span": span,
    }
    return media_task("pipeline.modalities.imu.task", "imu", options, limits, prepare=prepare)


def recording(answer: Answer) -> Decoded:
    """Its content: a :class:`Recording`."""
    times, values = answer.arrays[:2]
    return Decoded(Recording(times, values), answer.notes)


class ImuReader(ProcessReader):
    """See :meth:`Modality.decode` of motion."""

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options, task(options))

    def decoded(self, answer: Answer) -> Decoded:
        return recording(answer)
