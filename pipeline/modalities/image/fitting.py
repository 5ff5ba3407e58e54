"""The model's own resizing and cropping, without torch, so that decoder processes can do it.

The one place that fits an image to a model: decoder processes do it to send small images back, and
the model's encoder does it to whatever it is given. Byte for byte what OpenCLIP's
``image_transform_v2(cfg, is_train=False)`` does before ``ToTensor`` (a test compares them), except
for very long images: resizing the shorter side of 1 x 30,000 to 224 would make 224 x 6.7 million
pixels (4.5 GB), of which all but the middle are thrown away.
"""

from dataclasses import dataclass
from typing import Literal

from PIL import Image

_LONG = 16  # longer images are cropped to this ratio before they are resized


@dataclass(frozen=True)
class Fit:
    """An image of any size and mode -> RGB of the model's size. Can be pickled.

    Applying it twice equals applying it once. ``mode`` as in OpenCLIP: ``shortest`` resizes the
    shorter side and crops the centre, ``longest`` the longer side and pads with ``fill``,
    ``squash`` ignores the ratio.
    """

    height: int
    width: int
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int | tuple[int, ...] = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        if self.mode == "squash":
            return _rgb(self._resize(image, self.width, self.height))
        if self.mode == "shortest":
            image = _without_long_tails(image)
        return self._crop_or_pad(_rgb(self._resize(image, *self._target(*image.size))))

    def _target(self, width: int, height: int) -> tuple[int, int]:
        if self.mode == "shortest" and self.height == self.width:
            short, long = min(width, height), max(width, height)
            scaled = int(self.height * long / short)
            return (self.width, scaled) if width <= height else (scaled, self.height)
        ratios = height / self.height, width / self.width
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        square = self.height == self.width or self.mode != "shortest"
        bilinear = self.interpolation == "bilinear" and square  # else OpenCLIP takes bicubic
        method = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
        return image.resize((width, height), method)

    def _crop_or_pad(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if width < self.width or height < self.height:
            size = max(width, self.width), max(height, self.height)
            fill = self.fill if self.mode == "longest" else 0
            colour = fill if isinstance(fill, tuple) else (fill,) * 3
            page = Image.new("RGB", size, colour)
            page.paste(image, ((size[0] - width) // 2, (size[1] - height) // 2))
            image = page
        if image.size == (self.width, self.height):
            return image
        left = round((image.width - self.width) / 2)
        top = round((image.height - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))


def whole(image: Image.Image) -> Image.Image:
    """The image as it is, in RGB."""
    return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    """After resizing, as OpenCLIP does it; decoded images are RGB before."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _without_long_tails(image: Image.Image) -> Image.Image:
    short, long = min(image.size), max(image.size)
    if long <= _LONG * short:
        return image
    keep = _LONG * short + (long - _LONG * short) % 2  # symmetric, so that the centre stays
    left, top = ((side - min(side, keep)) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))
