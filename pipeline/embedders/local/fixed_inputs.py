"""The inputs on which a precision is compared with float32. Imports no torch."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.vectors import Vectors

TEXTS = (
    "a photo of a cat",
    "two red bicycles leaning against a brick wall in the rain",
    "42",
    "The harbour at dawn, seen from the hill: small boats, gulls, fog, and one bright window.",
    # Four alone said 0.9991 of a model in 7 bits whose next 256 texts went down to 0.9987.
    "a woman in a yellow raincoat walks her dog past the closed market",
    "black leather boots, size 42",
    "an old map of the northern coast with three lighthouses marked in ink",
    "sunset",
    "children play football between parked cars on a narrow street",
    "close-up of a bee on a purple thistle, shallow depth of field",
    "invoice no. 2024-117, paid",
    "a plate of pasta with tomatoes and basil next to a glass of water",
    "snow on the roofs of a small mountain village at night",
    "diagram of a steam engine with labelled valves",
    "two men repair a fishing net while a cat watches from the wall",
    "an empty train platform, blurred lights of a train, and a forgotten umbrella on a bench",
)


def images() -> list[Image.Image]:
    """A ramp, a chessboard, noise and a disc: smooth, regular, rough and plain."""
    y, x = np.mgrid[0:256, 0:256]
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3))
    disc = (x - 128) ** 2 + (y - 128) ** 2 < 80**2
    drawn = [
        np.stack([x, y, 255 - x], axis=-1),
        np.repeat(((x // 32 + y // 32) % 2 * 255)[..., None], 3, axis=-1),
        noise,
        np.where(disc[..., None], (200, 30, 40), (230, 230, 210)),
    ]
    return [Image.fromarray(pixels.astype(np.uint8)) for pixels in drawn]


def sounds(rate: int) -> list[npt.NDArray[np.float32]]:
    """A rising tone, noise that comes and goes, a chord: two seconds each, shape (2 * rate,)."""
    time = np.arange(2 * rate) / rate
    noise = np.random.default_rng(0).normal(size=2 * rate) * np.abs(np.sin(3 * time))
    chord = np.sum([np.sin(2 * np.pi * tone * time) for tone in (220, 277, 330)], axis=0)
    drawn = [np.sin(2 * np.pi * (100 + 800 * time) * time), 0.2 * noise, chord / 3]
    return [(0.5 * samples).astype(np.float32) for samples in drawn]


def least_cosine(exact: Vectors, lower: Vectors) -> float:
    """The least over all rows; a row without a direction counts as 0."""
    cosines = (exact * lower).sum(axis=1)
    return float(np.nan_to_num(cosines, nan=0.0).min())
