"""Bringing the source items of an attached table or view up to date, batch by batch."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection, errors_of_ours, fetch_one
from pipeline.settings import DEFAULT_SCHEMA
from pipeline.sources.problems import note_problem

# How changes are noticed where a slot says them; see logical.py.
LOGICAL = "logical"
# Rows whose source items are written in one transaction, for which whoever writes them waits.
BATCH = 2_000
# What backfill_source() says after each.
_DONE = re.compile(r"(\d+) rows of .* done", re.DOTALL)
# SQLSTATEs of classes that say nothing of the source: connections, conflicts, locks, shutdowns.
_PASSING = {"08", "40", "55", "57"}
# The SQLSTATE of a warning about what a sync does not mend.
_NOT_FOLLOWED = "01R18"


@dataclass(frozen=True, slots=True)
class AttachedReport:
    """How many source items a sync added, changed and removed.

    Attributes:
        problems: what is not followed, a sentence each: of rows that cannot be read 20 at most.
        advice: what to do about it.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.added} added, {self.changed} changed, {self.removed} removed"


@errors_of_ours()
def sync(
    connection: Connection,
    name: str,
    *,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda _: None,
    schema: str = DEFAULT_SCHEMA,
) -> AttachedReport:
    """Make source items what an attached table or view says now.

    Rows are compared only where the table was written since the last sync; see :func:`forget_seen`.
    It may be stopped and called again. Each batch is a transaction of its own; on a connection
    whose transaction is open, or that does not commit by itself, all of it is part of that one.

    Args:
        batch: rows whose source items are written at once.
        progress: called after each batch, with the number of rows that had changes.
        schema: that of our tables.

    Raises:
        ConfigurationError: there is no such source, or ``batch`` is less than 1.
        DatabaseError: the database refuses.
    """
    if batch < 1:
        raise ConfigurationError(f"batch is {batch}, and must be at least 1")
    is_idle = connection.info.transaction_status == TransactionStatus.IDLE
    is_alone = connection.autocommit and is_idle
    with told_problems(connection, progress) as told:
        try:
            found = _run(connection, name, batch, schema, by_batch=is_alone)
        except psycopg.Error as exc:
            if is_alone and (exc.sqlstate or "08")[:2] not in _PASSING:
                _note_failure(connection, name, exc)
            raise
        added, changed, removed = fetch_one(found)
    return AttachedReport(added, changed, removed, told.problems, told.advice)


def _note_failure(connection: Connection, name: str, failure: psycopg.Error) -> None:
    """So that whoever looks at the status learns of it; a table that cannot be read, say."""
    with suppress(psycopg.Error):
        row = connection.execute(
            "SELECT s.id FROM attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation "
            "WHERE s.name = %s AND c.relowner = current_user::regrole",
            (name,),
        ).fetchone()
        if row is not None:
            said = failure.diag.message_primary or str(failure)
            note_problem(connection, row[0], f"the last sync failed: {said}")


def _run(
    connection: Connection, name: str, batch: int, schema: str, *, by_batch: bool
) -> psycopg.Cursor[Any]:
    if not by_batch:
        in_one = sql.SQL("SELECT added, changed, removed FROM {}(%s)").format(
            sql.Identifier(schema, "sync_source")
        )
        return connection.execute(in_one, (name,))
    each = sql.SQL("CALL {}(%s, %s, whole => false)").format(
        sql.Identifier(schema, "backfill_source")
    )
    return connection.execute(each, (name, batch))


# The same work: rows that are there when a table is attached differ from the view as others do.
backfill = sync


@errors_of_ours()
def forget_seen(connection: Connection, name: str | None = None) -> None:
    """Have the next sync compare all rows, also where none was written since the last.

    Args:
        name: of what is attached; None: all that belongs to whoever calls.

    Raises:
        DatabaseError: the database refuses.
    """
    connection.execute(
        "UPDATE attached_sources AS s SET seen = NULL FROM pg_class AS c WHERE c.oid = s.relation "
        "AND c.relowner = current_user::regrole AND (s.name = %(name)s OR %(name)s::text IS NULL)",
        {"name": name},
    )


class Told:
    """What the server says of rows and tables that are not followed, each once, in its order."""

    def __init__(self) -> None:
        self._advice_by_problem: dict[str, str] = {}

    def add(self, notice: Diagnostic) -> None:
        self._advice_by_problem[notice.message_primary or ""] = notice.message_hint or ""

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._advice_by_problem)

    @property
    def advice(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, self._advice_by_problem.values())))


@contextmanager
def told_problems(
    connection: Connection, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Told]:
    """What is said meanwhile."""
    told = Told()

    def hear(notice: Diagnostic) -> None:
        if notice.sqlstate == _NOT_FOLLOWED:
            told.add(notice)
        elif found := _DONE.fullmatch(notice.message_primary or ""):
            progress(int(found[1]))

    connection.add_notice_handler(hear)
    try:
        yield told
    finally:
        connection.remove_notice_handler(hear)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a sync would find.

    Attributes:
        rows: how many it would bring up to date.
        problems, advice: as those of :class:`AttachedReport`.
    """

    rows: int
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


@errors_of_ours()
def differing(connection: Connection, name: str) -> Difference:
    """What a sync would do, without its being done.

    Raises:
        ConfigurationError: there is no such source.
        DatabaseError: the database refuses.
    """
    # What a row that cannot be read lets be noted is not kept.
    with connection.transaction(force_rollback=True), told_problems(connection) as told:
        (count,) = fetch_one(
            connection.execute(
                "SELECT count(DISTINCT k) FROM compare_attached(attached_source(%s)) AS k", (name,)
            )
        )
    return Difference(int(count), told.problems, told.advice)


def estimated_rows(connection: Connection, name: str) -> int | None:
    """How many rows the table has, as of its last ANALYZE; None: nobody knows."""
    row = connection.execute(
        """
        SELECT nullif(sum(greatest(c.reltuples, 0)), 0)::bigint
        FROM attached_sources AS a
        JOIN pg_class AS c ON c.oid = a.relation
            OR c.oid IN (SELECT p.relid FROM pg_partition_tree(a.relation) AS p WHERE p.isleaf)
        WHERE a.name = %s
        """,
        (name,),
    ).fetchone()
    return row[0] if row else None
