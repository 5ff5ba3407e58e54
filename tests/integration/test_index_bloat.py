"""An index of far more room than its rows take, and the command that mends it."""

import numpy as np
import pytest

from pipeline import spaces
from pipeline.doctor.bloat import bloat
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index.bloat import index_sizes, whole_bytes
from pipeline.spaces.index.build import IndexBuild
from pipeline.spaces.index.graph import Graph
from pipeline.vectors import unit_rows
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.two_cones import store


def filled(connection: Connection, name: str, dimensions: int, rows: int, **made: object) -> Space:
    space = spaces.create(connection, name, FakeEmbedder(dimensions), **made)  # type: ignore[arg-type]
    space = spaces.activate(connection, space, min_coverage=0)
    vectors = unit_rows(np.random.default_rng(3).normal(size=(rows, dimensions)))
    store(connection, space, "text", vectors, first_source_id=1)
    table = space.table_name("text")
    connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
    connection.execute(f"VACUUM ANALYZE {table}".encode())
    return space


@pytest.mark.parametrize(
    ("dimensions", "made"),
    [
        (12, {"hnsw_m": 24, "hnsw_ef_construction": 48}),
        (512, {"hnsw_m": 16, "hnsw_ef_construction": 32}),
        (768, {"hnsw_m": 48, "hnsw_ef_construction": 96}),
        (300, {"hnsw_m": 8, "hnsw_ef_construction": 16, "vector_type": "vector"}),
    ],
)
def test_its_size_is_known_from_its_rows(
    connection: Connection, dimensions: int, made: dict[str, object]
) -> None:
    """Within a tenth; pgvector's own layout may change with a release, and this would say so."""
    space = filled(connection, "sized", dimensions, 1500, **made)
    size, rows = index_sizes(connection, space, "text") or (0, 0)
    assert rows == 1500
    assert whole_bytes(space, rows) <= size <= 1.1 * whole_bytes(space, rows)


def test_the_doctor_names_the_command_and_it_mends(
    connection: Connection, settings: Settings
) -> None:
    space = filled(connection, "worn", 12, 3000, hnsw_m=16, hnsw_ef_construction=32)
    table = space.table_name("text")
    assert [check.ok for check in bloat(connection, space)] in ([True], [])
    for _ in range(3):  # each time all rows anew, and nothing is freed between
        connection.execute(
            f"UPDATE {table} SET embedding = embedding, embedded_at = now()".encode()
        )
    connection.execute(f"ANALYZE {table}".encode())
    (check,) = bloat(connection, space)
    assert (check.ok, check.fix) == (False, "pipeline space reindex worn")
    assert " times what an index of 3,000 rows takes" in check.found
    IndexBuild(Database.of(settings), space, rebuild=Graph(16, 32)).run()
    connection.execute(f"VACUUM ANALYZE {table}".encode())
    size, rows = index_sizes(connection, space, "text") or (0, 0)
    assert size <= 1.2 * whole_bytes(space, rows)
    assert all(check.ok for check in bloat(connection, space))
    (count,) = fetch_one(connection.execute("SELECT count(*) FROM multimodal_items"))
    assert count == 3000
