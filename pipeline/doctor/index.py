"""The HNSW indexes: there, whole, in memory, and used."""

from collections.abc import Iterator

from psycopg import sql

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space


def index(connection: Connection, space: Space) -> Iterator[Check]:
    yield from _kind(space)
    for modality in space.modalities:
        name = f"index {modality}"
        valid = spaces.index_is_valid(connection, space, modality)
        build = f"pipeline space build --no-embed {space.name}"
        if not valid:
            yield Check(name, False, "missing" if valid is None else "broken", build)
            continue
        if _is_empty(connection, space, modality):
            yield Check(name, True, "valid; no items yet")
            continue
        used = _is_used(connection, space, modality)
        row = fetch_one(
            connection.execute(
                "SELECT pg_relation_size(to_regclass(%s)), pg_size_bytes(current_setting("
                "'shared_buffers'))",
                (space.index_name(modality),),
            )
        )
        size, buffers = row
        shown = f"valid, {size / 2**20:.0f} MB of {buffers / 2**20:.0f} MB shared_buffers"
        if not used:
            yield Check(
                name,
                False,
                f"{shown}, but a search would not use it",
                f"ANALYZE {space.table_name(modality)}",
            )
        elif size > buffers:
            needed = 2 ** (int(size / 2**30).bit_length())
            yield Check(
                name,
                False,
                f"{shown}: it does not fit, so searches read from disk",
                f"ALTER SYSTEM SET shared_buffers = '{needed}GB', then restart the server",
            )
        else:
            yield Check(name, True, shown + ", used")


def _kind(space: Space) -> Iterator[Check]:
    """Of a compact index, whom it serves; and whether one that was asked for is still to come."""
    if space.compact_dimensions is not None:
        shown = f"compact, {space.compact_dimensions} of {space.dimensions} dimensions: it serves "
        yield Check(
            "index kind",
            True,
            shown + "the search functions; ORDER BY embedding <=> ... reads every vector",
            f"docs/scaling.md has a statement; or pipeline space reindex {space.name} --index full",
        )
    elif space.index_kind == "compact":
        yield Check(
            "index kind",
            True,
            "full, since there were too few items for a compact one",
            f"pipeline space reindex {space.name} --index compact",
        )


def _is_empty(connection: Connection, space: Space, modality: str) -> bool:
    rows = space.rows(modality)
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {} AS i)").format(rows)
    (empty,) = fetch_one(connection.execute(query))
    return bool(empty)


def _is_used(connection: Connection, space: Space, modality: str) -> bool:
    """Whether the planner can serve a search of the table that everybody queries with it."""
    with connection.transaction():
        # A table of a few rows is rightly scanned; the question is whether the index could serve.
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        # First the vector: where the table is distributed, ORDER BY may not ask it for one.
        (vector,) = fetch_one(
            connection.execute(
                sql.SQL("SELECT {}::text FROM {} AS i LIMIT 1").format(
                    space.key, space.rows(modality)
                )
            )
        )
        plan = connection.execute(
            sql.SQL(
                "EXPLAIN SELECT id FROM multimodal_items WHERE modality = {} "
                "ORDER BY {} <=> {}::{} LIMIT 10"
            ).format(sql.Literal(modality), space.key, sql.Literal(vector), space.key_type)
        ).fetchall()
    return any(space.index_name(modality) in line for (line,) in plan)
