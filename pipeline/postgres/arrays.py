"""Whole columns as binary arrays: one parameter each, packed at once instead of value by value.

psycopg dumps a list element by element in Python, which takes longer than the statement it is
for. The layout is PostgreSQL's own (``array_recv``): number of dimensions, a flag for NULLs, the
element's type; per dimension its length and lower bound; then each element after its length.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

T = TypeVar("T", bound=AdaptContext)

# Built-in types have the same number in every database.
_INTEGERS = {"bigint": (20, 8, "q"), "integer": (23, 4, "i")}
_BYTEA, _TEXT, _JSONB = 17, 25, 3802


class PackedArray(bytes):
    """An array in PostgreSQL's binary form; the statement's cast names its type."""


class _PackedArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: bytes) -> bytes:
        return obj


def allow_packed(context: T) -> T:
    """The same cursor or connection, which now takes ``PackedArray`` parameters."""
    context.adapters.register_dumper(PackedArray, _PackedArrayDumper)
    return context


def head(element_oid: int, count: int) -> bytes:
    """What an array of ``count`` elements begins with."""
    if not count:
        return struct.pack(">iii", 0, 0, element_oid)
    return struct.pack(">iiIii", 1, 0, element_oid, count, 1)


def pack_integers(values: Sequence[int], of_type: str = "bigint") -> PackedArray:
    """A ``bigint[]`` or ``integer[]``. Raises struct.error where a value does not fit."""
    oid, size, code = _INTEGERS[of_type]
    # Each behind its length. By struct, not NumPy, which takes longer to import than a run with
    # nothing to do takes in all.
    elements = [size] * (2 * len(values))
    elements[1::2] = values
    body = struct.pack(">" + f"i{code}" * len(values), *elements)
    return PackedArray(head(oid, len(values)) + body)


def pack_bytes(values: Sequence[bytes]) -> PackedArray:
    """A ``bytea[]``."""
    return _pack(_BYTEA, values)


def pack_texts(values: Sequence[str]) -> PackedArray:
    """A ``text[]``; the database's encoding is UTF-8 in every connection of psycopg's."""
    return _pack(_TEXT, [value.encode() for value in values])


def pack_json(values: Sequence[str]) -> PackedArray:
    """A ``jsonb[]`` of JSON documents."""
    return _pack(_JSONB, [b"\x01" + value.encode() for value in values])


def _pack(oid: int, values: Sequence[bytes]) -> PackedArray:
    def pieces() -> Iterable[bytes]:
        yield head(oid, len(values))
        for value in values:
            yield len(value).to_bytes(4)
            yield value

    return PackedArray(b"".join(pieces()))
