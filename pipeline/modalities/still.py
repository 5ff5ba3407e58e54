"""Images that stand for a span of a film or a page of a document, and become its parts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.modalities.base import Decoded, Encoder, Part

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.modalities.decoding.task import Array, Prepare

_SIDE = 1024  # pixels of the longer side for an encoder that does not say how it fits images


@dataclass(slots=True)
class Still:
    """One frame or page.

    Attributes:
        image: upright, RGB, fitted to the encoder that it is read for.
        notes: which it is: ``start`` and ``end``, or ``page`` and ``pages``.
        text: what can be read in it, where the file holds it as text.
        frames: of a film's segment, where the encoder sees several: at even times, in order.
    """

    image: "Image.Image"
    notes: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    frames: tuple["Image.Image", ...] = ()


def fitting(encoder: Encoder | None) -> "Prepare":
    """How the encoder fits an image, or else a size that any model's input is smaller than."""
    from pipeline.modalities.image.thumbnail import Thumbnail

    fit: Any = getattr(encoder, "fit", None)
    return fit if callable(fit) else Thumbnail(_SIDE)


def image_of(pixels: "Array") -> "Image.Image":
    """Of (height, width, 3) bytes, which it keeps: nothing is copied."""
    from PIL import Image

    height, width, _ = pixels.shape
    return Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)


def parts_of(decoded: Decoded) -> list[Part]:
    """A part a still. What decides its vector is its pixels: they are the model's input."""
    return [
        Part(still.image, {**decoded.notes, **still.notes}, sha256=digest([still.image]))
        for still in decoded.content
    ]


def digest(images: "Sequence[Image.Image]") -> bytes:
    """SHA-256 of their pixels and sizes."""
    found = hashlib.sha256()
    for image in images:
        found.update("{} {}\n".format(*image.size).encode())
        found.update(image.tobytes())
    return found.digest()
