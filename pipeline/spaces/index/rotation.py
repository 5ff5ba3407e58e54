"""The rotation of a compact index: the axes along which a space's vectors are longest.

Principal components (Pearson 1901) of the uncentred second moments, each modality counting alike.
Uncentred, so that the axes of the modalities' cones come first: a query's part along its own cone
is long, and whatever of it the leading coordinates left out would be noise in every distance
(docs/decisions.md has the figures).
"""

from collections.abc import Sequence

import numpy as np

from pipeline.vectors import Vectors

# Widths that are tried, least first; beyond half of the dimensions nothing is gained.
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
QUERIES = 100  # of each modality, which are not searched among
K = 10
# So many candidates of a sample are to hold so large a share of the true neighbours in it. Stricter
# than a space's target: a table has more rows than the sample, and the graph misses some as well.
CANDIDATES = 50
LEAST_SHARE = 0.99


def fit(samples: Sequence[Vectors]) -> Vectors:
    """The axes (D, D), orthonormal rows, that of most length first.

    Args:
        samples: unit vectors (n, D) of each modality that has any.
    """
    moments = sum(rows.T.astype(np.float64) @ rows / len(rows) for rows in samples)
    _, columns = np.linalg.eigh(moments)
    return np.ascontiguousarray(columns[:, ::-1].T, np.float32)


def width_for(samples: Sequence[Vectors], axes: Vectors) -> int:
    """The least of ``WIDTHS`` whose candidates hold the neighbours of every pair of modalities.

    Returns:
        The largest below half of the dimensions, where none does.
    """
    widths = [w for w in WIDTHS if w <= max(WIDTHS[0], len(axes) // 2)] or [len(axes)]
    widths = [min(w, len(axes)) for w in widths]
    for width in widths:
        if share(samples, axes, width) >= LEAST_SHARE:
            return width
    return widths[-1]


def share(samples: Sequence[Vectors], axes: Vectors, width: int) -> float:
    """Of the worst pair of modalities: the share of true neighbours among the candidates."""
    leading = [_unit(rows @ axes[:width].T) for rows in samples]
    asked = [min(QUERIES, len(rows) // 2) for rows in samples]
    return min(
        _share(
            samples[of][-asked[of] :] @ samples[among][: -asked[among]].T,
            leading[of][-asked[of] :] @ leading[among][: -asked[among]].T,
        )
        for of in range(len(samples))
        for among in range(len(samples))
    )


def _share(exact: Vectors, leading: Vectors) -> float:
    """Both (queries, items): cosines by whole vectors, and by leading coordinates."""
    k, candidates = min(K, exact.shape[1]), min(CANDIDATES, exact.shape[1])
    nearest = np.argpartition(-exact, k - 1, axis=1)[:, :k]
    chosen = np.argpartition(-leading, candidates - 1, axis=1)[:, :candidates]
    found = [len(set(a) & set(b)) for a, b in zip(nearest.tolist(), chosen.tolist(), strict=True)]
    return float(np.mean(found) / k)


def _unit(rows: Vectors) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = (rows / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit
