"""Many rows at once, by COPY in binary: no object is made of each.

For columns of one length, so that a row is a record of NumPy. It also leaves alone what an
application registered on its connections for the types that are read.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection

_HEAD = 19  # signature, flags, length of an extension that nobody has
_BLOCK = 4 * 2**20  # bytes

Columns = Sequence[tuple[str, npt.DTypeLike]]


def copied(
    connection: Connection, query: sql.Composable, columns: Columns
) -> Iterator[npt.NDArray[np.void]]:
    """The rows of a query, some thousand at a time, as records with a field per column.

    Args:
        columns: names and types, big-endian as PostgreSQL sends them (``>i8``).

    Raises:
        DatabaseError: a value has another length, or is NULL.
    """
    layout = _layout(columns)
    buffer = bytearray()
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        left = _HEAD
        for data in copy:
            buffer += data
            if left and len(buffer) >= left:
                del buffer[:left]
                left = 0
            if len(buffer) > _BLOCK:
                yield _rows(buffer, layout, columns)
    yield _rows(buffer, layout, columns)


def _layout(columns: Columns) -> np.dtype[np.void]:
    fields: list[tuple[str, npt.DTypeLike]] = [("fields", ">i2")]
    for name, kind in columns:
        fields += [(f"{name} length", ">i4"), (name, kind)]
    return np.dtype(fields)


def _rows(buffer: bytearray, layout: np.dtype[np.void], columns: Columns) -> npt.NDArray[np.void]:
    """The whole rows of the buffer, which loses them; behind the last row stand two bytes."""
    count = len(buffer) // layout.itemsize
    rows = np.frombuffer(bytes(buffer[: count * layout.itemsize]), layout)
    del buffer[: count * layout.itemsize]
    for name, _ in columns:
        if (rows[f"{name} length"] != layout[name].itemsize).any():
            raise DatabaseError(f"values of {name} have other lengths than before; ask again")
    return rows
