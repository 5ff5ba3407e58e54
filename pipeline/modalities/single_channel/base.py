"""What modalities of one measured channel have in common. What needs Pillow is imported late."""

from typing import TYPE_CHECKING, ClassVar

from pipeline.modalities.base import Decoded, Encoder, Modality, Reader, ReadOptions
from pipeline.modalities.moments import Moment

if TYPE_CHECKING:
    from pipeline.modalities.decoding.task import Prepare, Task


class SingleChannel(Modality):
    """A PNG or TIFF of one grey channel. Its encoders take the values as they are stored, uint8 or
    uint16, shape (height, width), upright.

    Attributes:
        bits: that a value may have.
    """

    media = "image"
    told_suffixes = frozenset({".png", ".tif", ".tiff"})
    bits: ClassVar[tuple[int, ...]]

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.decoding.reader import here
        from pipeline.modalities.single_channel.reader import task, values

        return values(here(task(self.name, self.bits, options))(data))

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.single_channel.reader import SingleChannelReader

        return SingleChannelReader(self, encoder, options, self.bits)

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        """Grey: of 16 bits the range that the values fill; black where there is none (0)."""
        from pipeline.modalities.single_channel.reader import task

        return task(self.name, self.bits, options, prepare)

    def probes(self) -> list[bytes]:
        from pipeline.modalities.single_channel.probes import pngs

        return pngs(max(self.bits))
