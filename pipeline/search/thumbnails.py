"""Small images of what items refer to, for pages: loaded and decoded as an ingestion would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pipeline import modalities
from pipeline.loaders import LoadedContent, Loader, LoadOptions
from pipeline.modalities import ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.image.thumbnail import Thumbnail, as_webp
from pipeline.settings import Settings


def has_image(modality: str) -> bool:
    """Whether items of the modality are images, as far as this process knows."""
    found = modalities.find(modality)
    return found is not None and found.media == "image"


class Thumbnails:
    """Makes them, for many threads, until it is closed.

    What an item refers to was written by whoever may write source items. So it is read below the
    media roots, from public addresses and named buckets alone, and decoded in other processes.

    Args:
        media_roots: folders that file references may point into, beside those of the settings.
        side: pixels of the longer side, at most.
    """

    def __init__(self, settings: Settings, media_roots: Sequence[Path], side: int) -> None:
        self._loader = Loader(LoadOptions.of(settings), media_roots)
        self._decoder = ImageDecoder(ReadOptions.of(settings), Thumbnail(side))

    def load(self, reference: str) -> LoadedContent:
        """What it refers to. Raises RowError."""
        return self._loader.load(reference)

    def of_bytes(self, data: bytes) -> bytes:
        """A small WebP of an image's file. Raises RowError."""
        return as_webp(self._decoder.decode(data).content)

    def of_reference(self, reference: str) -> bytes:
        """A small WebP of an image. Raises RowError."""
        return self.of_bytes(self.load(reference).data)

    def close(self) -> None:
        """End its connections and processes."""
        self._loader.close()
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
