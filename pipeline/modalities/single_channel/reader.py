"""Reading measured values in decoder processes, within the limits of images."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.modalities.base import Decoded, Encoder, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader
from pipeline.modalities.decoding.task import Answer, Prepare, Task
from pipeline.modalities.image.decoder import image_task

if TYPE_CHECKING:
    from pipeline.modalities.single_channel.base import SingleChannel


def task(modality: "SingleChannel", options: ReadOptions, prepare: Prepare | None = None) -> Task:
    """What decodes it.

    Args:
        prepare: called with a grey image to look at, which is the last array of the answers then.
    """
    of_images = image_task(options, prepare)
    return replace(
        of_images,
        module="pipeline.modalities.single_channel.task",
        function="decoding",
        noun=modality.name,
        options={**of_images.options, "bits": modality.bits, "noun": modality.name},
    )


def values(answer: Answer) -> Decoded:
    """Its content: the values, shape (height, width)."""
    return Decoded(answer.arrays[0], answer.notes)


class SingleChannelReader(ProcessReader):
    """See :meth:`Modality.decode` of these."""

    def __init__(self, modality: "SingleChannel", encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options, task(modality, options))

    def decoded(self, answer: Answer) -> Decoded:
        return values(answer)
