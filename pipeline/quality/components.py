"""Principal components of many rows, block by block: no copy of the rows is made.

By the eigenvectors of the covariance (D, D) instead of a decomposition of the rows (n, D): the
same axes, in one pass that holds a block at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.vectors import Vectors

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Two axes (2, D) through a mean (D,).

    Attributes:
        explained: share of the variance that the two axes hold.
    """

    mean: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    explained: float

    @classmethod
    def of(cls, blocks: Iterable[Vectors]) -> Self:
        """The two main axes of the rows (n, D) of all blocks, which are at least one row.

        Signs are fixed (the largest entry of an axis is positive), so a map does not flip.
        """
        count, total, products = 0, np.zeros(1), np.zeros((1, 1))
        for block in blocks:
            count += len(block)
            total = total + block.sum(axis=0, dtype=np.float64)
            products = products + (block.T @ block)
        mean = total / count
        strengths, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
        axes = vectors.T[::-1][:2].copy()
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
        strengths = np.maximum(strengths[::-1], 0.0)
        return cls(mean, axes, float(strengths[:2].sum() / max(strengths.sum(), 1e-30)))

    def project(self, rows: Vectors) -> Points:
        """The rows (n, D) on the axes, (n, 2)."""
        # In the rows' own precision: a copy of them all in double would take longer than the rest.
        axes = self.axes.T.astype(rows.dtype)
        points: Points = (rows @ axes).astype(np.float64) - self.mean @ self.axes.T
        return points


def largest_distance(means: Sequence[npt.NDArray[np.floating]]) -> float | None:
    """Between two of the means; None: there is only one."""
    return max((float(np.linalg.norm(a - b)) for a, b in combinations(means, 2)), default=None)
