"""The one place where vectors are read and normalised."""

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def unit_rows(vectors: npt.ArrayLike) -> Vectors:
    """Rows of length 1 (L2), float32, shape (n, dimensions), from vectors of any float type.

    A row without a direction (zero, or with a NaN or an infinity in it) becomes a row of NaN, so
    that a caller can fail that row alone: ``np.isnan(rows[:, 0])`` finds them.
    """
    if np.iscomplexobj(vectors):  # whose imaginary part NumPy would drop
        raise TypeError("complex numbers are no vectors")
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"vectors have shape (n, dimensions), not {rows.shape}")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # Scaled first: the square of a large float32 is still finite then, and of a small one > 0.
        rows = rows / np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
        rows = rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    rows[~np.isfinite(rows).all(axis=1)] = np.nan
    unit: Vectors = rows.astype(np.float32)
    return unit


def as_vector(value: Any) -> Vectors:
    """One vector, float32, from an array, numbers, pgvector's text or one of its Python classes.

    Raises:
        ValueError, TypeError: it is none of these.
    """
    if isinstance(value, str):
        value = value[1:-1].split(",")
    elif hasattr(value, "to_numpy"):  # HalfVector, Vector, SparseVector, a pandas column
        value = value.to_numpy()
    numbers = np.asarray(value)
    if np.iscomplexobj(numbers):  # whose imaginary part NumPy would drop
        raise TypeError("complex numbers are no vector")
    vector: Vectors = numbers.astype(np.float32, copy=False)
    return vector
