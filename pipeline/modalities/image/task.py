"""What a decoder process of images does: bytes rendered, fitted, and given back as RGB."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from pipeline.modalities.decoding.task import Answer, Decode
from pipeline.modalities.image.rendering import Limits, render

Prepare = Callable[[Image.Image], Image.Image]


def decoding(options: dict[str, Any], prepare: Prepare | None) -> Decode:
    """Of images within these limits; ``prepare`` is called with each that was rendered.

    Its answers have one array: RGB, uint8, shape (height, width, 3).
    """
    limits = Limits(**options)

    def decode(data: bytes) -> Answer:
        try:
            image, notes = render(data, limits)
            if prepare is not None:
                image = prepare(image)
            width, height = image.size
            pixels = np.frombuffer(image.tobytes(), np.uint8)
        except MemoryError as exc:
            raise limits.no_memory("the image needs more") from exc
        return Answer([pixels.reshape(height, width, 3)], notes)

    return decode
