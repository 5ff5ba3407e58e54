"""Images through an OpenCLIP model. Imports torch.

Pixels stay uint8 until they are on the device and are normalised there; equal images of one call
are embedded once.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.embedders.openclip.model import OpenClipModel
from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Role
from pipeline.modalities.image.fitting import Fit
from pipeline.vectors import Vectors, unit_rows

Pixels = npt.NDArray[np.uint8]


class ImageEncoder:
    """The image tower with its preprocessing.

    Args:
        mean: of each channel, from 0 to 1.
        std: of each channel.
        dimensions: of a vector.
    """

    def __init__(
        self,
        model: OpenClipModel,
        fit: Fit,
        mean: Sequence[float],
        std: Sequence[float],
        dimensions: int,
    ) -> None:
        self.fit = fit
        self._model = model
        self._mean = torch.tensor(mean, device=model.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=model.device).view(3, 1, 1)
        self._dimensions = dimensions

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    @property
    def most_inputs(self) -> int:
        return self._model.batch_size

    def prepare(self, contents: Sequence[Image.Image]) -> list[Pixels]:
        """The model's own resizing and cropping: uint8, shape (3, height, width) each.

        Exactly OpenCLIP's transform up to ``ToTensor``; the rest happens on the device.

        Raises:
            PermanentRowError: ``corrupt``.
        """
        return [self._prepare(image) for image in contents]

    def _prepare(self, image: Image.Image) -> Pixels:
        try:
            fitted = self.fit(image)
        except (OSError, ValueError, ArithmeticError, SyntaxError) as exc:
            raise PermanentRowError("corrupt", f"the image cannot be resized: {exc}") from exc
        return np.ascontiguousarray(np.asarray(fitted, dtype=np.uint8).transpose(2, 0, 1))

    def embed(self, inputs: Sequence[Pixels], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``; queries and items are embedded alike."""
        if not len(inputs):
            return np.empty((0, self._dimensions), dtype=np.float32)
        first: dict[bytes, int] = {}
        keys = _keys(inputs)
        for position, key in enumerate(keys):
            first.setdefault(key, position)
        distinct = [inputs[position] for position in first.values()]
        most = min(self._model.batch_size, self._model.images_at_once)
        batches = _about_equal(distinct, most)
        rows = np.concatenate([self._model.forward(self._encode, batch) for batch in batches])
        place = {key: row for row, key in enumerate(first)}
        return unit_rows(rows[[place[key] for key in keys]])

    def _encode(self, batch: Sequence[Pixels]) -> torch.Tensor:
        scaled = self._model.stacked(batch).to(torch.float32)
        scaled = (scaled.div_(255).sub_(self._mean)).div_(self._std)
        scaled = scaled.to(self._model.dtype)
        if self._model.device.type == "cuda":
            scaled = scaled.contiguous(memory_format=torch.channels_last)
        features: torch.Tensor = self._model.module.encode_image(scaled)
        return features


def _keys(images: Sequence[Pixels]) -> list[bytes]:
    """The same for equal images alone. All of an image is hashed only where a few pixels of it,
    which are never as many bytes as a hash, are those of another one as well."""
    samples = [pixels[:, ::16, ::16].tobytes() for pixels in images]
    times = Counter(samples)
    return [
        sample if times[sample] == 1 else hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        for sample, pixels in zip(samples, images, strict=True)
    ]


def _about_equal(images: Sequence[Pixels], most: int) -> list[Sequence[Pixels]]:
    """Batches of up to ``most``; rather than full ones and a small one of what is left."""
    count = math.ceil(len(images) / most)
    borders = [len(images) * number // count for number in range(count + 1)]
    return [images[begin:end] for begin, end in pairwise(borders)]
