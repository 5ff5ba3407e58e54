"""Packed arrays through a real server."""

import hashlib

import numpy as np
import pytest

from pipeline.postgres.arrays import (
    PackedArray,
    allow_packed,
    pack_bytes,
    pack_integers,
    pack_json,
    pack_texts,
)
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import pack_vector, unpack_vector
from pipeline.spaces import Space
from pipeline.spaces.items import Writer
from tests.helpers.fakes import vector_of


@pytest.mark.parametrize(
    ("packed", "kind", "values"),
    [
        (pack_integers([0, 1, -(2**63), 2**63 - 1]), "bigint", [0, 1, -(2**63), 2**63 - 1]),
        (pack_integers([2**31 - 1, -5], "integer"), "integer", [2**31 - 1, -5]),
        (pack_texts(["", "caf\u00e9", "\U0001f600", "a,b{}\"'\\"]), "text", None),
        (pack_bytes([b"", b"\0\xff"]), "bytea", [b"", b"\0\xff"]),
        (pack_json(["{}", '{"a": [1, "\u00e9"]}']), "jsonb", [{}, {"a": [1, "\u00e9"]}]),
        (pack_integers([]), "bigint", []),
    ],
)
def test_the_server_reads_what_was_packed(
    connection: Connection, packed: PackedArray, kind: str, values: list[object] | None
) -> None:
    if values is None:
        values = ["", "caf\u00e9", "\U0001f600", "a,b{}\"'\\"]
    row = allow_packed(connection.cursor()).execute(f"SELECT %s::{kind}[]", (packed,)).fetchone()
    assert row == (values,)


@pytest.mark.parametrize("kind", ["halfvec", "vector"])
def test_one_vector_is_read_as_it_was_packed(connection: Connection, kind: str) -> None:
    vector = np.asarray([0.5, -0.25, 0.0, 1.0], dtype=np.float32)
    packed = pack_vector(vector, kind)
    cursor = allow_packed(connection.cursor())
    read = cursor.execute(f"SELECT (%s::{kind})::text".encode(), (packed,)).fetchone()
    assert read == ("[0.5,-0.25,0,1]",)
    assert unpack_vector(packed, kind).tolist() == vector.tolist()


def test_known_vectors_are_found_by_the_index_where_there_are_no_statistics(
    connection: Connection, space: Space
) -> None:
    table = space.table_name("text")
    connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    connection.execute(
        f"INSERT INTO {table} (source_id, modality, content_ref, space_id, content_sha256, "
        "embedding) SELECT n, 'text', n::text, %s, sha256(n::text::bytea), %s "
        "FROM generate_series(1, 3000) AS n",
        (space.id, str(vector_of(b"x").tolist())),
    )
    hashes = [hashlib.sha256(str(n).encode()).digest() for n in range(200, 456)]
    before = _sequential_scans(connection, table)
    known = Writer(space).known_vectors(connection, "text", [*hashes, b"unknown"])
    assert known.keys() == set(hashes)
    assert _sequential_scans(connection, table) == before
    assert Writer(space).known_vectors(connection, "text", []) == {}


def _sequential_scans(connection: Connection, table: str) -> int:
    row = connection.execute(
        "SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()"
    ).fetchone()
    assert row is not None
    row = connection.execute(
        "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = %s", (table,)
    ).fetchone()
    assert row is not None
    return int(row[0])
