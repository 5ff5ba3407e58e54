"""Reading images for one encoder: decoded in other processes, which may fit them to the model."""

from collections.abc import Mapping
from typing import Any

from pipeline.modalities.base import Decoded, Encoder, Modality, Reader, ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.image.fitting import whole
from pipeline.modalities.image.rendering import NOTES


class ImageReader(Reader):
    """Small images come back from the processes instead of whole ones; fitting twice is once.

    An encoder says how it fits them by an attribute ``fit``, such as a ``fitting.Fit``: called with
    an image, in any process, it gives one in RGB; it can be pickled. From one that has none, whose
    resizing needs torch, say, whole images come back.
    """

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options)
        self._decoder = ImageDecoder(options, getattr(encoder, "fit", whole))

    def decode(self, data: bytes) -> Decoded:
        return self._decoder.decode(data)

    def kept_notes(self, notes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if "width" not in notes:
            return None
        kept = {name: notes[name] for name in NOTES if name in notes}
        if not self.options.keep_gps:
            kept.pop("gps", None)
        return kept

    def close(self) -> None:
        self._decoder.close()
