"""Reading images for one encoder: decoded in other processes, which also fit them to the model."""

from collections.abc import Mapping
from typing import Any, Protocol

from pipeline.modalities.base import Decoded, Encoder, Modality, Reader, ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.image.fitting import Fit
from pipeline.modalities.image.rendering import NOTES


class ImageEncoder(Encoder, Protocol):
    """An encoder of images says how it fits them, so that decoder processes can do it as well."""

    @property
    def fit(self) -> Fit: ...


class ImageReader(Reader):
    """Small images come back from the processes instead of whole ones; fitting twice is once."""

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options)
        of_images: ImageEncoder = encoder  # type: ignore[assignment]  # what an image's encoder is
        self._decoder = ImageDecoder(options, of_images.fit)

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
