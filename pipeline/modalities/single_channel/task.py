"""What a decoder process of measured values does: they stay as they are stored."""

from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import PermanentRowError
from pipeline.modalities.decoding.task import Answer, Array, Decode, Prepare
from pipeline.modalities.image.rendering import Limits, load_upright
from pipeline.modalities.image.sniff import sniff

_FORMATS = ("PNG", "TIFF")
_BITS = {"L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16}
_DTYPES = {8: "|u1", 16: "<u2"}


def decoding(options: dict[str, Any], prepare: Prepare | None) -> Decode:
    """Of values within these limits; ``prepare`` is called with a grey image of each.

    Its answers have an array of uint8 or uint16, shape (height, width), and with ``prepare``
    another, of the image that it made: RGB, uint8, shape (height, width, 3).
    """
    noun, bits = options["noun"], tuple(options["bits"])
    limits = Limits(**{k: v for k, v in options.items() if k not in ("noun", "bits")})

    def decode(data: bytes) -> Answer:
        try:
            values, notes = _read(data, noun, bits, limits)
            arrays = [values]
            if prepare is not None:
                shown = prepare(Image.fromarray(_grey(values))).convert("RGB")
                arrays.append(np.array(shown))
        except MemoryError as exc:
            raise limits.no_memory("the image needs more") from exc
        return Answer(arrays, notes)

    return decode


def _read(
    data: bytes, noun: str, bits: tuple[int, ...], limits: Limits
) -> tuple[Array, dict[str, Any]]:
    expected = f"{noun} is a PNG or TIFF of one channel of {' or '.join(map(str, bits))} bits"
    if (name := sniff(data)) not in _FORMATS:
        raise PermanentRowError("unsupported_format", f"this is {name}; {expected}")
    image, notes = load_upright(data, limits)
    if (found := _BITS.get(image.mode)) not in bits:
        what = f"{found} bits" if found else f"the mode {image.mode}"
        raise PermanentRowError("unsupported_format", f"this {name} has {what}; {expected}")
    values = np.ascontiguousarray(np.asarray(image), dtype=_DTYPES[found])
    return values, {**notes, "bits": found, "values": [int(values.min()), int(values.max())]}


def _grey(values: Array) -> Array:
    """8 bits to look at."""
    if values.dtype == np.uint8:
        return values
    measured = values[values > 0]
    low, high = (int(measured.min()), int(measured.max())) if measured.size else (0, 1)
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1))
    grey: Array = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey
