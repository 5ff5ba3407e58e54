"""Reading measured values in decoder processes, within the limits of images."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.modalities.base import Decoded, Encoder, Modality, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader
from pipeline.modalities.decoding.task import Answer, Prepare, Task
from pipeline.modalities.image.decoder import image_task


def task(
    noun: str, bits: Sequence[int], options: ReadOptions, prepare: Prepare | None = None
) -> Task:
    """What decodes it.

    Args:
        noun: what it is, in messages.
        bits: that a value may have.
        prepare: called with a grey image to look at, which is the last array of the answers then.
    """
    of_images = image_task(options, prepare)
    return replace(
        of_images,
        module="pipeline.modalities.single_channel.task",
        function="decoding",
        noun=noun,
        options={**of_images.options, "bits": bits, "noun": noun},
    )


def values(answer: Answer) -> Decoded:
    """Its content: the values, shape (height, width)."""
    return Decoded(answer.arrays[0], answer.notes)


class SingleChannelReader(ProcessReader):
    """See :meth:`Modality.decode` of these."""

    def __init__(
        self, modality: Modality, encoder: Encoder, options: ReadOptions, bits: Sequence[int]
    ) -> None:
        super().__init__(modality, encoder, options, task(modality.name, bits, options))

    def decoded(self, answer: Answer) -> Decoded:
        return values(answer)
