"""Rows of an integer and a halfvec for ``COPY ... (FORMAT binary)``, packed by NumPy."""

import numpy as np
import numpy.typing as npt

from pipeline.vectors import Vectors

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"


def packed(ids: npt.NDArray[np.int64], vectors: Vectors) -> bytes:
    """Between HEADER and END: one row for each id and row of (n, dimensions)."""
    count, dimensions = vectors.shape
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i4"),
            ("vector_bytes", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", dimensions),
        ]
    )
    rows = np.zeros(count, row)
    rows["fields"], rows["id_bytes"], rows["id"] = 2, 4, ids
    rows["vector_bytes"], rows["dimensions"] = 4 + 2 * dimensions, dimensions
    rows["vector"] = vectors
    return rows.tobytes()
