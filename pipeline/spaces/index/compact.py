"""What a compact index is over: the leading coordinates of each vector, in ``compact``.

A space gets its rotation once, from a sample of its items, and keeps it; so coordinates that were
written stay right, whatever its indexes are over later. From then on a trigger writes them, whoever
writes the vector, and a CHECK refuses a row without them: no row is lost to a search.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from psycopg import sql

from pipeline.errors import ConfigurationError, SpaceError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.patience import with_patience
from pipeline.postgres.piecewise import piecewise
from pipeline.spaces.space import Space, get_space

if TYPE_CHECKING:
    from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

SAMPLE = 20_000  # of each modality
# Of all together; fewer say little about what comes, and need no index.
LEAST_SAMPLE = 1000
# Of a modality: fewer have no direction of their own worth keeping.
LEAST_OF_MODALITY = 100
PAGE = 10_000
LEAST_ID = -(2**63)
# Rewritten rows leave dead ones behind; cleaned up every so many, the room is used by the next.
VACUUM_AFTER = 100_000


def prepare(connection: Connection, space: Space, dimensions: int | None = None) -> Space | None:
    """Have every item's leading coordinates written; may be killed, and called again.

    Nobody waits for it: rows that others have locked are changed later.

    Args:
        connection: outside a transaction, of the tables' owner.
        dimensions: how many the index is to be over; None: as many as were written, or what a
            sample needs.

    Returns:
        The space with its ``compact_dimensions`` as they are to be, which is not stored; None:
        there are too few items to fit a rotation by.

    Raises:
        ConfigurationError: the vectors do not have so many dimensions.
        SpaceError: others never let go of the tables.
    """
    if dimensions is not None and not 1 <= dimensions <= space.dimensions:
        raise ConfigurationError(
            f"a compact index is over 1 to {space.dimensions} dimensions, not {dimensions}"
        )
    if space.compact_width is None:
        fitted = _fit(connection, space, dimensions)
        if fitted is None:
            return None
        _introduce(connection, space, *fitted)
    elif dimensions is not None and dimensions > space.compact_width:
        _widen(connection, space, dimensions)
    space = get_space(connection, space.name)
    for modality in space.modalities:
        _backfill(connection, space, modality)
        connection.execute(
            sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                space.table(modality), _check_of(space, modality)
            )
        )
    return space.with_index("compact", dimensions or space.compact_width)


def _fit(
    connection: Connection, space: Space, dimensions: int | None
) -> "tuple[Vectors, int] | None":
    """The axes, and how many coordinates are to be written."""
    # Late: NumPy, which a run with nothing to build must not pay for.
    from pipeline.spaces.index import rotation

    samples = [_sample(connection, space, modality) for modality in space.modalities]
    if sum(map(len, samples)) < LEAST_SAMPLE:
        return None
    samples = [rows for rows in samples if len(rows) >= LEAST_OF_MODALITY]
    axes = rotation.fit(samples)
    width = dimensions or rotation.width_for(samples, axes)
    logger.info("vectors of %d dimensions by %d of them", space.dimensions, width)
    return axes, width


def _sample(connection: Connection, space: Space, modality: str) -> "Vectors":
    """(<= SAMPLE, D), float32, from all over the table."""
    import numpy as np

    from pipeline.postgres.vector_arrays import unpack_vector

    table = space.table(modality)
    (count,) = fetch_one(connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)))
    percent = min(100.0, 120.0 * SAMPLE / max(count, 1))
    rows = (
        connection.cursor(binary=True)
        .execute(
            sql.SQL(
                "SELECT embedding FROM {} TABLESAMPLE SYSTEM ({}) REPEATABLE (0) LIMIT {}"
            ).format(table, sql.Literal(percent), sql.Literal(SAMPLE))
        )
        .fetchall()
    )
    found = [unpack_vector(bytes(vector), space.vector_type) for (vector,) in rows]
    return np.array(found, np.float32).reshape(len(found), space.dimensions)


def _introduce(connection: Connection, space: Space, axes: "Vectors", width: int) -> None:
    """The rotation, the trigger that keeps the coordinates, and the CHECK that wants them."""

    def work() -> bool:
        row = connection.execute(
            "SELECT compact_width FROM embedding_spaces WHERE id = %s FOR UPDATE", (space.id,)
        ).fetchone()
        if row is None or row[0] is not None:
            return row is not None
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO space_rotations (space_id, axis, direction) "
                "VALUES (%s, %s, %s::real[]::halfvec)",
                [(space.id, axis, row.tolist()) for axis, row in enumerate(axes, 1)],
            )
        _set_width(connection, space, width)
        for modality in space.modalities:
            _keep(connection, space, modality)
        return True

    _with_tables(connection, space, work)


def _keep(connection: Connection, space: Space, modality: str) -> None:
    """From now on, on this table; those who are writing it have ended."""
    connection.execute("SELECT keep_compact(to_regclass(%s))", (space.table_name(modality),))
    # The coordinates inline, as every comparison reads them.
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ALTER COLUMN compact SET STORAGE PLAIN, "
            "ADD CONSTRAINT {} CHECK (compact IS NOT NULL) NOT VALID"
        ).format(space.table(modality), _check_of(space, modality))
    )


def _widen(connection: Connection, space: Space, width: int) -> None:
    """More coordinates of the same rotation: those there are stay what they were."""

    def work() -> bool:
        for modality in space.modalities:
            connection.execute(
                sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(space.table(modality))
            )
        _set_width(connection, space, width)
        return True

    _with_tables(connection, space, work)


def _set_width(connection: Connection, space: Space, width: int) -> None:
    connection.execute(
        "UPDATE embedding_spaces SET compact_width = %s WHERE id = %s", (width, space.id)
    )


def _with_tables(connection: Connection, space: Space, work: Callable[[], bool]) -> None:
    done = with_patience(connection, work)
    if done is None:
        raise SpaceError(
            "others never let go of multimodal_items; end the long transactions on it and run "
            f"`pipeline space reindex {space.name}` again, which goes on from here"
        )
    if not done:
        raise SpaceError(f"the space {space.name!r} was dropped meanwhile")


def _backfill(connection: Connection, space: Space, modality: str) -> None:
    """The coordinates of rows from before; the trigger makes them."""
    table = space.table(modality)
    missing = sql.SQL(
        "SELECT id FROM {} WHERE id > %s AND (compact IS NULL OR vector_dims(compact) < {}) "
        "ORDER BY id LIMIT %s"
    ).format(table, sql.Literal(space.compact_width))
    last, since = LEAST_ID, 0
    while page := connection.execute(missing, (last, PAGE)).fetchall():
        ids = [item for (item,) in page]
        piecewise(connection, ids, lambda ids: _rewrite(connection, table, ids))
        (last,) = page[-1]
        since += len(ids)
        if since >= VACUUM_AFTER:
            connection.execute(sql.SQL("VACUUM {}").format(table))
            since = 0
    if since:
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))


def _rewrite(connection: Connection, table: sql.Identifier, ids: list[int]) -> list[int]:
    """Those of these rows that somebody else has locked, the others being rewritten."""
    rows = connection.execute(
        sql.SQL(
            """
            WITH free AS MATERIALIZED (
                SELECT id FROM {table} WHERE id = ANY (%(ids)s)
                ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
            ), rewritten AS (
                UPDATE {table} AS i SET compact = NULL FROM free AS f WHERE i.id = f.id
            )
            SELECT i.id FROM {table} AS i
            WHERE i.id = ANY (%(ids)s) AND NOT EXISTS (SELECT FROM free AS f WHERE f.id = i.id)
            """
        ).format(table=table),
        {"ids": ids},
    )
    return [item for (item,) in rows]


def _check_of(space: Space, modality: str) -> sql.Identifier:
    return sql.Identifier(f"{space.table_name(modality)}_compact")
