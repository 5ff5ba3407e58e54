"""Rebuilding the HNSW indexes of a space beside those that serve: denser, or without the holes that
changes left.

Each is built CONCURRENTLY under a name of its own; when all are whole, one short transaction drops
the old ones and gives the new ones their names. An index that is attached to that of
``multimodal_items`` cannot be dropped alone, so all change at once, and need their room on disk
twice until then. Killed before, what is whole is kept for the next run, and costs whoever writes.
"""

import logging
from dataclasses import replace

import psycopg
from psycopg import sql

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.postgres.patience import with_patience
from pipeline.postgres.session import is_direct
from pipeline.spaces.index.compact import LEAST_SAMPLE, prepare
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.spaces.index.hnsw import build_index, keep_index_kind, notices_logged
from pipeline.spaces.index.parent import (
    attach_indexes,
    create_parent_index,
    drop_parent_index,
)
from pipeline.spaces.space import Space, get_space

logger = logging.getLogger(__name__)

CLEANING_MS = 2000


def new_name(space: Space, modality: str) -> str:
    """Of the index that is to take the place of the one there is."""
    return f"{space.index_name(modality)}_new"


def unfinished(connection: Connection, space: Space) -> dict[str, bool]:
    """By name, the indexes that a rebuild has left behind, and whether each is whole."""
    rows = connection.execute(
        """
        SELECT c.relname, i.indisvalid AND i.indisready
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN unnest(%s::text[], %s::text[]) AS n (name, items)
            ON c.oid = to_regclass(n.name) AND i.indrelid = to_regclass(n.items)
        ORDER BY c.relname
        """,
        (
            [new_name(space, m) for m in space.modalities],
            [space.table_name(m) for m in space.modalities],
        ),
    ).fetchall()
    return dict(rows)


def drop_broken(connection: Connection, space: Space) -> None:
    """Drop those that are not whole, on a connection that is closed after that.

    Nobody waits for it, nor it for long: it is for a command that was told to stop.
    """
    if is_direct(connection):
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{CLEANING_MS}ms",))
    for name, is_whole in unfinished(connection, space).items():
        try:
            if not is_whole:
                _drop(connection, name)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            logger.warning("%s is left, half built: somebody writes; the next run drops it", name)


def rebuild_indexes(
    connection: Connection,
    space: Space,
    graph: Graph,
    kind: IndexKind | None = None,
    *,
    maintenance_memory: str | None = None,
    parallel_workers: int | None = None,
) -> None:
    """Put indexes of this graph in the place of those of the space; what a run before it has
    finished is taken.

    Args:
        kind: what they are to be over; None: what they are over.
        maintenance_memory: see ``build_indexes``.
        parallel_workers: see ``build_indexes``.

    Raises:
        SpaceError: there are too few items for a compact index; or they are whole, but others
            never let go of the tables.
    """
    space = get_space(connection, space.name)
    if kind is not None:
        space = _of_kind(connection, space, kind)
    wanted = replace(space, hnsw_m=graph.m, hnsw_ef_construction=graph.ef_construction)
    with notices_logged(connection):
        for modality in space.modalities:
            name = new_name(space, modality)
            if name in unfinished(connection, space):
                if _is_of(connection, name, wanted):
                    continue
                _drop(connection, name)
            build_index(connection, wanted, modality, name, maintenance_memory, parallel_workers)
    if not with_patience(connection, lambda: _swap(connection, wanted)):
        raise SpaceError(
            "the new indexes are whole, but others never let go of multimodal_items; end the long "
            f"transactions on it, and run `pipeline space reindex {space.name}` again, which goes "
            "on from here"
        )


def _of_kind(connection: Connection, space: Space, kind: IndexKind) -> Space:
    if kind.name == "full":
        return space.with_index("full", None)
    compact = prepare(connection, space, kind.dimensions)
    if compact is None:
        raise SpaceError(
            f"the space {space.name!r} has fewer than {LEAST_SAMPLE:,} items, too few to tell "
            "which coordinates of their vectors matter; its index stays full"
        )
    return compact


def _swap(connection: Connection, wanted: Space) -> bool:
    connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
    # Nobody activates another space now.
    is_active = get_space(connection, wanted.name).state == "active"
    for modality in wanted.modalities:
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(wanted.table(modality))
        )
    if is_active:
        drop_parent_index(connection)  # and those that are attached to it
    for modality in wanted.modalities:
        old = sql.Identifier(wanted.index_name(modality))
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(old))
        connection.execute(
            sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(new_name(wanted, modality)), old
            )
        )
    if is_active:
        create_parent_index(connection, wanted)
        attach_indexes(connection, wanted)
    connection.execute(
        "UPDATE embedding_spaces SET hnsw_m = %s, hnsw_ef_construction = %s WHERE id = %s",
        (wanted.hnsw_m, wanted.hnsw_ef_construction, wanted.id),
    )
    keep_index_kind(connection, wanted)
    return True


def _is_of(connection: Connection, name: str, wanted: Space) -> bool:
    """Whether the index is whole, over the same, and of the same graph."""
    row = connection.execute(
        "SELECT i.indisvalid AND i.indisready AND c.reloptions @> %s::text[] "
        r"AND substring(pg_get_indexdef(c.oid) FROM 'compact, 1, (\d+)')::integer "
        "IS NOT DISTINCT FROM %s "
        "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE c.oid = to_regclass(%s)",
        (
            [f"m={wanted.hnsw_m}", f"ef_construction={wanted.hnsw_ef_construction}"],
            wanted.compact_dimensions,
            name,
        ),
    ).fetchone()
    return bool(row and row[0])


def _drop(connection: Connection, name: str) -> None:
    logger.info("dropping %s, which an earlier run left behind", name)
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
