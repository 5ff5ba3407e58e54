"""Vectors in pgvector's binary form: whole batches out, single ones in.

Apart from ``arrays.py``, since NumPy takes longer to import than a run with nothing to do takes.
"""

import struct

import numpy as np
import numpy.typing as npt

from pipeline.postgres.arrays import PackedArray, head
from pipeline.vectors import Vectors

_ELEMENT = {"halfvec": ">f2", "vector": ">f4"}


def pack_vectors(vectors: Vectors, vector_type: str, element_oid: int) -> PackedArray:
    """``vectors`` (n, D) as a binary array of ``vector_type``.

    Layout (pgvector's and PostgreSQL's receive functions, big-endian): the array's header, then
    per element its length in bytes, D and an unused field as int16, and D floats.
    """
    count, dimensions = vectors.shape
    floats = np.dtype(_ELEMENT[vector_type])
    element = np.zeros(
        count,
        dtype=[
            ("length", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("values", floats, (dimensions,)),
        ],
    )
    element["length"] = 4 + dimensions * floats.itemsize
    element["dimensions"] = dimensions
    element["values"] = vectors
    return PackedArray(head(element_oid, count) + element.tobytes())


def pack_vector(vector: Vectors, vector_type: str) -> PackedArray:
    """One vector (D,) in its binary form."""
    values = np.ascontiguousarray(vector, dtype=_ELEMENT[vector_type])
    return PackedArray(struct.pack(">HH", len(values), 0) + values.tobytes())


def unpack_vector(data: bytes, vector_type: str) -> npt.NDArray[np.float32]:
    """One vector (D,) from its binary form, float32."""
    return np.frombuffer(data, dtype=_ELEMENT[vector_type], offset=4).astype(np.float32)
