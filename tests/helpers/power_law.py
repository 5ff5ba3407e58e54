"""Two cones with a power-law spectrum: the hard case for a graph, as trained models give it.

What vectors mean lies in all dimensions, in each next one a little less: so no number of dimensions
is enough, and recall at a fixed ``ef_search`` falls as a table grows. (``two_cones.py`` has 32
dimensions of meaning, in which it hardly does.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.vectors import Vectors, unit_rows

# Of the variances: that of the i-th dimension is i ** -EXPONENT.
EXPONENT = 1.0
# How much of a vector is the axis of its cone; the rest is what it says.
ON_AXIS = 0.75
# Of what is not shared with the other modality's vector of the same meaning.
OWN_OF_IMAGES, OWN_OF_TEXTS = 0.8, 0.5


@dataclass(frozen=True)
class PowerLaw:
    """Makes as many texts and images as are asked for; always the same for the same seed."""

    dimensions: int
    seed: int = 7

    def images(self, count: int, *, chunk: int = 20_000) -> Iterator[Vectors]:
        """(<= chunk, dimensions) at a time; the first ones are the same, however many follow."""
        for number, start in enumerate(range(0, count, chunk)):
            yield self._embed("image", 10 + number, chunk)[: count - start]

    def texts(self, count: int, *, chunk: int = 20_000) -> Iterator[Vectors]:
        """The i-th means the i-th image."""
        for number, start in enumerate(range(0, count, chunk)):
            yield self._embed("text", 10 + number, chunk)[: count - start]

    def queries(self, count: int) -> Vectors:
        """Texts (count, dimensions) that mean none of the images."""
        return self._embed("text", 1, count)

    def _embed(self, modality: str, part: int, count: int) -> Vectors:
        meaning = self._draw(count, self.seed, part)
        own = self._draw(count, self.seed, part, ord(modality[0]))
        weight = OWN_OF_TEXTS if modality == "text" else OWN_OF_IMAGES
        said = unit_rows(meaning + weight * own) @ self._rotation()
        return unit_rows(ON_AXIS * self._axes()[modality] + np.sqrt(1 - ON_AXIS**2) * said)

    def _draw(self, count: int, *seed: int) -> Vectors:
        drawn = np.random.default_rng(seed).standard_normal((count, self.dimensions), np.float32)
        scale = np.arange(1, self.dimensions + 1, dtype=np.float32) ** (-EXPONENT / 2)
        return unit_rows(drawn * scale)

    def _rotation(self) -> Vectors:
        """So that no dimension of the space is special."""
        square = np.random.default_rng((self.seed, 2)).normal(size=(self.dimensions,) * 2)
        return np.linalg.qr(square)[0].astype(np.float32)

    def _axes(self) -> dict[str, Vectors]:
        """Of a cosine of 0.1, as those of CLIP have."""
        one, other = self._rotation()[:, 0], self._rotation()[:, 1]
        return {"text": one, "image": 0.1 * one + np.sqrt(1 - 0.1**2).astype(np.float32) * other}
