"""The images that every space is probed with."""

import io

import numpy as np
from PIL import Image, ImageDraw


def pngs() -> list[bytes]:
    """As files: what is stored is what is embedded again."""
    return [_png(image) for image in images()]


def images() -> list[Image.Image]:
    """Fine stripes show another resampling, odd sides another crop, colours another mean and
    standard deviation."""
    y, x = np.mgrid[0:240, 0:320]
    ramp = np.stack([x * 255 // 319, y * 255 // 239, 255 - x * 255 // 319], axis=-1)
    stripes = np.repeat((((x + 2 * y) // 3) % 2 * 255)[..., None], 3, axis=-1)
    noise = np.random.default_rng(7).integers(0, 256, (96, 224, 3))
    drawn = [Image.fromarray(a.astype(np.uint8)) for a in (ramp, stripes, noise)]
    scene = Image.new("RGB", (180, 300), (120, 170, 230))
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, 200, 180, 300), fill=(40, 120, 50))
    draw.ellipse((50, 90, 130, 170), fill=(220, 40, 30))
    draw.line((10, 10, 170, 290), fill=(250, 240, 80), width=9)
    return [*drawn, scene]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
