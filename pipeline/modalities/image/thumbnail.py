"""Small images to look at: the whole image, made in the decoder's process."""

import io
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Thumbnail:
    """An image -> the same, its longer side at most ``side`` pixels. Can be pickled."""

    side: int

    def __call__(self, image: Image.Image) -> Image.Image:
        small = image.convert("RGB")
        small.thumbnail((self.side, self.side))
        return small


def as_webp(image: Image.Image) -> bytes:
    """Its bytes, as every browser shows them."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()
