"""Activating a space and going back: one short transaction that swaps the partitions.

Locks are asked for in an order that keeps readers waiting for no longer than ``PATIENCE_MS`` a
time: a queued ACCESS EXCLUSIVE lock stops everybody who comes after it, so a swap that does not get
it within that time steps aside, lets them pass, and tries again.

1. SHARE UPDATE EXCLUSIVE on the tables to swap, with patience: it stands in nobody's way but
   vacuum's, and makes an autovacuum give up (which would take a second at the next step).
2. ACCESS EXCLUSIVE on ``multimodal_items``, then on the tables, without patience. A worker that
   writes into a partition takes the partition first and its parent second; the same impatience
   resolves that crossing.

Killed at any step, the transaction is gone and the old space serves as before.
"""

import logging
import random
import time

import psycopg
from psycopg import sql

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.postgres.patience import PATIENCE_MS
from pipeline.spaces.coverage import coverage
from pipeline.spaces.index.hnsw import build_indexes, missing_indexes
from pipeline.spaces.index.parent import create_parent_index, drop_parent_index
from pipeline.spaces.space import Space, find_active, get_space, list_spaces
from pipeline.spaces.tables import is_empty
from pipeline.spaces.views import (
    DependentView,
    check_recreatable,
    dependent_views,
    drop_views,
    recreate_views,
)

logger = logging.getLogger(__name__)

VACUUM_PATIENCE_MS = 5_000
LONGEST_PAUSE = 1.0  # seconds between two attempts


def activate(
    connection: Connection,
    space: Space,
    *,
    attempts: int = 30,
    min_coverage: float = 1.0,
    recreate: bool = False,
) -> Space:
    """Make ``space`` the active one: its tables become the partitions of ``multimodal_items``.

    The old space stays, detached, for :func:`rollback`. Its jobs go on being created, so that
    nothing that changes meanwhile is missed.

    Args:
        attempts: how often to try for the locks; about a second each after the first few.
        min_coverage: least share of the source items that the space must have, 0 to 1. Not
            asked of the first space of a database, since nothing could be found before it.
        recreate: drop the views that depend on the vector column and make them again.

    Raises:
        SpaceError: the space is empty, incomplete or without a whole index; the locks could not
            be had in all the attempts; or views depend on the vector column.
    """
    space = get_space(connection, space.name)
    if space.state == "active":
        return space
    if find_active(connection) is not None:
        check_coverage(connection, space, min_coverage)
    _check_indexes(connection, space)
    return _swap_in(connection, space, attempts, recreate=recreate)


def rollback(connection: Connection, *, attempts: int = 30, recreate: bool = False) -> Space:
    """Make the space active again that was active before; as quick as activating it was.

    Rows that changed meanwhile are its pending jobs already, so its coverage is not asked for.
    Twice is once forth and once back.

    Raises:
        SpaceError: there is no space to go back to, or as for :func:`activate`.
    """
    retired = [s for s in list_spaces(connection) if s.state == "retired" and s.retired_at]
    if not retired:
        raise SpaceError("no other space was active before; see `pipeline space list`")
    target = max(retired, key=lambda s: (s.retired_at, s.id))
    _check_indexes(connection, target)
    return _swap_in(connection, target, attempts, recreate=recreate)


def check_coverage(connection: Connection, space: Space, min_coverage: float) -> None:
    """Refuse a space that lacks source items which the active space may have.

    Raises:
        SpaceError: saying what is missing and what to do about it.
    """
    found = coverage(connection, space)
    if found.source_items and is_empty(connection, space):
        raise SpaceError(
            f"the space {space.name!r} is empty; fill it with `pipeline space build {space.name}`"
        )
    if found.share < min_coverage:
        cure = (
            "see `pipeline failures`, then"
            if found.failed and not found.pending
            else f"run `pipeline space build {space.name}`, or"
        )
        raise SpaceError(
            f"the space {space.name!r} is not complete: {found}; {cure} "
            f"accept the gap with --min-coverage {int(found.share * 1000) / 1000:g}"
        )


def _check_indexes(connection: Connection, space: Space) -> None:
    """Refuse a space without its indexes; those of empty tables are built in passing."""
    missing = missing_indexes(connection, space)
    filled = [m for m in missing if not is_empty(connection, space, m)]
    if filled:
        raise SpaceError(
            f"the space {space.name!r} has no whole HNSW index over its {' and '.join(filled)} "
            f"items; build it with `pipeline space build {space.name}`"
        )
    if missing:
        build_indexes(connection, space)


def _swap_in(connection: Connection, space: Space, attempts: int, *, recreate: bool) -> Space:
    old = find_active(connection)
    if (
        old is not None
        and old.column_type != space.column_type
        and not recreate
        and (views := dependent_views(connection))
    ):
        raise SpaceError(
            f"{', '.join(view.name for view in views)} depend on the vector column, whose type "
            "changes; add --recreate-views to drop them and make them again in the same "
            "transaction"
        )
    pause, holders = 0.02, ""
    for attempt in range(attempts):
        try:
            with connection.transaction():
                _lock(connection, space, old)
                _swap(connection, space, recreate=recreate)
            return get_space(connection, space.name)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            holders = _holders(connection, space, old)
            logger.info(
                "others use multimodal_items; trying again",
                extra={"attempt": attempt, "holders": holders},
            )
        except psycopg.errors.UndefinedTable:
            # Dropped between the check and the lock, or swapped by another activation.
            space, old = get_space(connection, space.name), find_active(connection)
        except psycopg.errors.FeatureNotSupported as exc:
            detail = exc.diag.message_detail or exc.diag.message_primary
            raise SpaceError(
                f"something depends on the vector column, whose type changes ({detail}); drop it, "
                "activate, and create it again"
            ) from exc
        time.sleep(pause * (0.5 + random.random()))
        pause = min(LONGEST_PAUSE, 2 * pause)
    raise SpaceError(
        f"multimodal_items was never free in {attempts} attempts{holders and ': ' + holders}; "
        "end the long transactions on it (SELECT pg_terminate_backend(PID)) and try again"
    )


def _lock(connection: Connection, space: Space, old: Space | None) -> None:
    tables = sql.SQL(", ").join(
        owner.table(modality) for owner in (space, old) if owner for modality in owner.modalities
    )
    _set_lock_timeout(connection, VACUUM_PATIENCE_MS)
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(tables))
    _set_lock_timeout(connection, PATIENCE_MS)
    connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))


def _set_lock_timeout(connection: Connection, milliseconds: int) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{milliseconds}ms",))


def _swap(connection: Connection, space: Space, *, recreate: bool) -> None:
    # Anew, since only now nobody else can change them, or give one of them a table.
    old, space = find_active(connection), get_space(connection, space.name)
    if old is not None and old.id == space.id:
        return
    if old is not None:
        for modality in old.modalities:
            connection.execute(
                sql.SQL("ALTER TABLE multimodal_items DETACH PARTITION {}").format(
                    old.table(modality)
                )
            )
        connection.execute(
            "UPDATE embedding_spaces SET state = 'retired', retired_at = now() WHERE id = %s",
            (old.id,),
        )
    drop_parent_index(connection)
    if old is None or old.column_type != space.column_type:
        _change_type(connection, space, recreate=recreate)
    # Valid at once, since the parent has no partition at this moment; the partitions' own
    # indexes join it as they are attached.
    create_parent_index(connection, space)
    for modality in space.modalities:
        connection.execute(
            sql.SQL("ALTER TABLE multimodal_items ATTACH PARTITION {} FOR VALUES IN ({})").format(
                space.table(modality), sql.Literal(modality)
            )
        )
    changed = connection.execute(
        "UPDATE embedding_spaces SET state = 'active', activated_at = now(), retired_at = NULL "
        "WHERE id = %s",
        (space.id,),
    ).rowcount
    if changed != 1:
        raise SpaceError(f"the space {space.name!r} was dropped meanwhile")


def _change_type(connection: Connection, space: Space, *, recreate: bool) -> None:
    views: list[DependentView] = dependent_views(connection) if recreate else []
    check_recreatable(views)
    drop_views(connection, views)
    connection.execute(
        sql.SQL("ALTER TABLE multimodal_items ALTER COLUMN embedding TYPE {}").format(
            space.column_type
        )
    )
    recreate_views(connection, views)


def _holders(connection: Connection, space: Space, old: Space | None) -> str:
    """Who holds the tables, longest transaction first, for a message."""
    names = ["multimodal_items"]
    names += [owner.table_name(m) for owner in (space, old) if owner for m in owner.modalities]
    rows = connection.execute(
        """
        SELECT DISTINCT ON (a.xact_start, a.pid) format('process %%s (%%s, for %%s s)', a.pid,
            coalesce(nullif(a.application_name, ''), a.backend_type),
            extract(epoch FROM now() - a.xact_start)::integer)
        FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
        WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation IN (SELECT to_regclass(n) FROM unnest(%s::text[]) AS n)
        ORDER BY a.xact_start, a.pid LIMIT 3
        """,
        (names,),
    ).fetchall()
    return ", ".join(row[0] for row in rows)
