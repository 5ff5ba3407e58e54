"""Advisory locks, which any login may take as well: so nobody waits for one without an end.

A lock belongs to a transaction. One of a session would stay behind in a pooler's connection, which
is somebody else's next.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import KEEPALIVE, Connection, explain, fetch_one
from pipeline.postgres.session import settle

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.25
_SAY_SECONDS = 5.0


class LockHeld(DatabaseError):  # noqa: N818 (named after what happened)
    """Somebody else holds a lock: a temporary failure."""


@contextlib.contextmanager
def exclusively(
    connection: Connection,
    key: int,
    *,
    table: str | None = None,
    seconds: float | None = None,
    stop: threading.Event | None = None,
) -> Iterator[bool]:
    """Hold a lock as long as this lasts, on another connection to the same database.

    Args:
        key: which lock, 64 bits.
        table: who may not change it holds the lock without a reason, and is only warned of; None:
            whoever holds it is waited for.
        seconds: how long to wait for it; None: :data:`PATIENCE_SECONDS`.
        stop: ends the wait.

    Yields:
        Whether it is held; False where ``stop`` was set.

    Raises:
        LockHeld: somebody else held it all that time; says who.
    """
    # Here, since the other connection does not look for our tables.
    changed = None if table is None else _number(connection, table)
    with _another(connection) as guard, guard.transaction():
        is_held = take(guard, key, table=changed, seconds=seconds, stop=stop)
        keep_open(guard)
        yield is_held


def take(
    connection: Connection,
    key: int,
    *,
    table: int | None = None,
    seconds: float | None = None,
    stop: threading.Event | None = None,
) -> bool:
    """Take a lock for the rest of the connection's transaction; else as :func:`exclusively`.

    Args:
        table: by its number.
    """
    began = time.monotonic()
    said = False
    while True:
        is_held = _try(connection, key)
        if is_held or (stop is not None and stop.is_set()):
            return is_held
        if table is not None and _is_held_without_reason(connection, key, table):
            return True
        waited = time.monotonic() - began
        if waited > (PATIENCE_SECONDS if seconds is None else seconds):
            raise LockHeld(
                f"{_holder(connection, key)} has held the lock that this needs for "
                f"{waited:.0f} seconds and more; wait for it, or end that session with "
                "pg_terminate_backend(), and try again"
            ) from psycopg.errors.LockNotAvailable()
        if waited > _SAY_SECONDS and not said:
            said = True
            logger.warning("waiting for %s, which does the same", _holder(connection, key))
        time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def reserved(connection: Connection, key: int, table: str) -> Iterator[bool]:
    """Hold a lock as long as this lasts, without waiting for it.

    Yields:
        False where it is held by a session that may change ``table``. Any other one holds it
        without a reason, and is only warned of.
    """
    with connection.transaction():
        is_free = (
            _try(connection, key)
            or _is_held_without_reason(connection, key, _number(connection, table))
            or _try(connection, key)  # whoever held it may have ended meanwhile
        )
        keep_open(connection)
        yield is_free


def keep_open(connection: Connection) -> None:
    """Let the transaction last while nothing happens in it, whatever the role's settings say.

    The last statement before the wait: the portal of a SELECT keeps its snapshot until the next
    one, and CREATE INDEX CONCURRENTLY, like VACUUM, waits for whoever holds a snapshot.
    """
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    if connection.info.server_version >= 170000:
        connection.execute("SET LOCAL transaction_timeout = 0")


# A lock has one holder. What is asked of it is one statement: between two, another may have it.
_HOLDER = """
SELECT a.usename, a.application_name, a.pid,
    has_table_privilege(a.usesysid, %(table)s::oid, 'UPDATE') AS may_run
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::bigint << 32) + l.objid::bigint = %(key)s AND a.datname = current_database()
"""


def _try(connection: Connection, key: int) -> bool:
    statement = "SELECT pg_try_advisory_xact_lock(%s::bigint)"
    return bool(fetch_one(connection.execute(statement, (key,)))[0])


def _number(connection: Connection, table: str) -> int:
    (number,) = fetch_one(connection.execute("SELECT %s::regclass::oid", (table,)))
    return int(number)


def _is_held_without_reason(connection: Connection, key: int, table: int) -> bool:
    """Whether who holds the lock may not change the table; then it is warned of.

    Where nobody holds it any more, nothing is said of it.
    """
    row = connection.execute(_HOLDER, {"key": key, "table": table}).fetchone()
    if row is None or row[3]:
        return False
    logger.warning("%s holds the lock of this command, and could not run it; going on", _named(row))
    return True


def _holder(connection: Connection, key: int) -> str:
    row = connection.execute(_HOLDER, {"key": key, "table": None}).fetchone()
    return _named(row) if row else "some session"


def _named(row: tuple[Any, ...]) -> str:
    return f"the session {row[2]} of {row[0]} ({row[1] or 'unnamed'})"


def _another(connection: Connection) -> Connection:
    """A second connection to where the first one goes, and as ours are."""
    try:
        another = psycopg.connect(
            connection.info.dsn,
            password=connection.info.password or None,
            autocommit=True,
            prepare_threshold=None,
            **KEEPALIVE,
        )
    except psycopg.Error as exc:
        raise DatabaseError(f"a second connection is refused: {explain(exc)}") from exc
    settle(another, None)
    return another
