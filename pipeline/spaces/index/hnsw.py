"""The HNSW indexes of a space: built once its tables are filled, in parallel, without a lock."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq, sql

from pipeline.postgres.connections import Connection
from pipeline.postgres.session import is_direct
from pipeline.spaces.index.compact import prepare
from pipeline.spaces.index.parent import adopt_indexes
from pipeline.spaces.index.resources import build_resources
from pipeline.spaces.space import Space, get_space
from pipeline.spaces.tables import is_empty

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far the building of one index is; ``done`` of ``total`` is in the phase's own unit."""

    modality: str
    phase: str
    done: int
    total: int


def index_is_valid(connection: Connection, space: Space, modality: str) -> bool | None:
    """Whether the index is whole; None where there is none."""
    row = connection.execute(
        "SELECT indisvalid AND indisready FROM pg_index "
        "WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s)",
        (space.index_name(modality), space.table_name(modality)),
    ).fetchone()
    return None if row is None else bool(row[0])


def missing_indexes(connection: Connection, space: Space) -> list[str]:
    """The modalities whose index is not there or not whole."""
    return [m for m in space.modalities if not index_is_valid(connection, space, m)]


def build_indexes(
    connection: Connection,
    space: Space,
    *,
    maintenance_memory: str | None = None,
    parallel_workers: int | None = None,
) -> None:
    """Build the HNSW index of every table that lacks one; a broken one is built anew.

    CONCURRENTLY, so that neither workers nor a DELETE on source_items wait for it, except for an
    empty table or inside of the caller's transaction. May be killed: what is left behind is
    invalid, and replaced by the next call.

    Args:
        maintenance_memory: ``maintenance_work_mem`` for it, such as 2GB; None: what the graph
            needs, as far as the server's machine has it. A graph that does not fit is built several
            times slower; pgvector then says so in a notice, which is logged.
        parallel_workers: ``max_parallel_maintenance_workers`` for it; None: one less than the
            server's machine has cores.
    """
    space = get_space(connection, space.name)  # what its indexes are over may be known by now
    missing = missing_indexes(connection, space)
    if len(missing) == len(space.modalities):
        space = _made_compact(connection, space)
    with notices_logged(connection):
        for modality in missing:
            name = space.index_name(modality)
            if index_is_valid(connection, space, modality) is not None:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
            build_index(connection, space, modality, name, maintenance_memory, parallel_workers)
    if missing and get_space(connection, space.name).state == "active":
        adopt_indexes(connection, space)


def _made_compact(connection: Connection, space: Space) -> Space:
    """The space, compact if it is to be and there are items to fit its rotation by."""
    if space.index_kind != "compact" or space.compact_dimensions is not None:
        return space
    idle = connection.info.transaction_status == pq.TransactionStatus.IDLE
    compact = prepare(connection, space) if idle else None
    if compact is None:
        logger.warning(
            "the space %s has too few items yet for a compact index and gets a full one; "
            "`pipeline space reindex %s --index compact` makes it compact once it has more",
            space.name,
            space.name,
        )
        return space
    keep_index_kind(connection, compact)
    return compact


def keep_index_kind(connection: Connection, space: Space) -> None:
    """Store what the space's indexes are over."""
    connection.execute(
        "UPDATE embedding_spaces SET index_kind = %s, compact_dimensions = %s WHERE id = %s",
        (space.index_kind, space.compact_dimensions, space.id),
    )


def build_index(
    connection: Connection,
    space: Space,
    modality: str,
    name: str,
    maintenance_memory: str | None,
    parallel_workers: int | None,
) -> None:
    """One index of this name, with what :func:`build_indexes` gives it."""
    resources = build_resources(connection, space, modality)
    workers = resources.workers if parallel_workers is None else parallel_workers
    settings = {
        "maintenance_work_mem": maintenance_memory or resources.maintenance_work_mem,
        "max_parallel_maintenance_workers": workers,
    }
    with _session_settings(connection, settings):
        _build(connection, space, modality, name)


@contextlib.contextmanager
def notices_logged(connection: Connection) -> Iterator[None]:
    """Such as that a graph does not fit into memory."""
    connection.add_notice_handler(_log_notice)
    try:
        yield
    finally:
        connection.remove_notice_handler(_log_notice)


@contextlib.contextmanager
def _session_settings(connection: Connection, settings: dict[str, Any]) -> Iterator[None]:
    """These settings, as far as they are not None, for the session and as long as it is needed."""
    if not is_direct(connection):
        logger.warning(
            "by way of a pooler an index is built with the server's own settings, and cancelled by "
            "a statement_timeout of the role; connect directly to build a large one"
        )
        settings = {}
    given = {name: str(value) for name, value in settings.items() if value is not None}
    try:
        for name, value in given.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield
    finally:
        for name in given:
            if not connection.broken:
                connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def _build(connection: Connection, space: Space, modality: str, name: str) -> None:
    index = sql.Identifier(name)
    concurrently = connection.info.transaction_status == pq.TransactionStatus.IDLE and not is_empty(
        connection, space, modality
    )
    statement = sql.SQL(
        "CREATE INDEX {} {} ON {} USING hnsw ({} {}) WITH (m = {}, ef_construction = {})"
    ).format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        index,
        space.table(modality),
        space.key,
        space.operators,
        sql.Literal(space.hnsw_m),
        sql.Literal(space.hnsw_ef_construction),
    )
    try:
        connection.execute(statement)
    except psycopg.errors.DiskFull as exc:
        if not concurrently or "shared memory" not in str(exc):
            raise
        # A container's /dev/shm of 64 MB: parallel workers share the graph there.
        logger.warning("no shared memory for parallel workers; building with one process")
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))
        with _session_settings(connection, {"max_parallel_maintenance_workers": 0}):
            connection.execute(statement)
    connection.execute(sql.SQL("ANALYZE {}").format(space.table(modality)))


def _log_notice(diagnostic: psycopg.errors.Diagnostic) -> None:
    logger.warning(
        "PostgreSQL says: %s %s", diagnostic.message_primary, diagnostic.message_hint or ""
    )


def index_progress(connection: Connection, space: Space) -> IndexProgress | None:
    """What is being built for the space right now, by whoever; from another connection."""
    row = connection.execute(
        """
        SELECT relid::regclass::text, phase,
            coalesce(nullif(tuples_done, 0), blocks_done),
            coalesce(nullif(tuples_total, 0), blocks_total)
        FROM pg_stat_progress_create_index
        WHERE datname = current_database() AND relid = ANY (%s::text[]::regclass[])
        """,
        ([space.table_name(modality) for modality in space.modalities],),
    ).fetchone()
    if row is None:
        return None
    modality = next(m for m in space.modalities if row[0].endswith(space.table_name(m)))
    return IndexProgress(modality, row[1], row[2], row[3])
