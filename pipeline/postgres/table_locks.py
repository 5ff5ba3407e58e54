"""Locks on tables: what changes them steps aside for whoever uses them, and tries again.

A lock that is waited for stops everybody who comes after, and a transaction that waits keeps the
locks it has. So a transaction of DDL waits for a moment, gives up all that it holds, lets the
others pass, and begins anew.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from psycopg.errors import DeadlockDetected, LockNotAvailable

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE_SECONDS = 300.0
LOCK_TIMEOUT_MS = 2_000
LONGEST_PAUSE = 5.0  # seconds between two attempts
IN_USE = (LockNotAvailable, DeadlockDetected)

# What the role says stays where it is shorter.
_WAIT_SHORTLY = """
SELECT set_config('lock_timeout', %(most)s || 'ms', true)
FROM pg_settings WHERE name = 'lock_timeout' AND (setting = '0' OR setting::bigint > %(most)s)
"""
# A session's, or a prepared transaction's, which has no process; and the statement that ends it.
_HOLDERS = """
WITH held AS (
    SELECT DISTINCT l.pid, x.transactionid AS prepared
    FROM pg_locks AS l
    LEFT JOIN pg_locks AS x ON l.pid IS NULL AND x.pid IS NULL
        AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
    JOIN pg_class AS c ON c.oid = l.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND n.nspname = %s
)
SELECT format('process %%s of %%s (%%s, for %%s s)', a.pid, a.usename,
        coalesce(nullif(a.application_name, ''), a.backend_type, 'unnamed'),
        coalesce(extract(epoch FROM now() - a.xact_start)::integer::text, 'some')),
    format('SELECT pg_terminate_backend(%%s)', a.pid), a.xact_start AS began
FROM held JOIN pg_stat_activity AS a USING (pid)
UNION ALL
SELECT format('the prepared transaction %%L of %%s (for %%s s)', p.gid, p.owner,
        extract(epoch FROM now() - p.prepared)::integer),
    format('ROLLBACK PREPARED %%L', p.gid), p.prepared
FROM held JOIN pg_prepared_xacts AS p ON p.transaction = held.prepared
ORDER BY began, 1 LIMIT 3
"""


def wait_shortly(connection: Connection) -> None:
    """Let the open transaction wait no longer than ``LOCK_TIMEOUT_MS`` for a lock."""
    connection.execute(_WAIT_SHORTLY, {"most": LOCK_TIMEOUT_MS})


def stepping_aside(
    connection: Connection, schema: str, attempt: Callable[[], Result], *, what: str
) -> Result:
    """What ``attempt`` gives, a transaction of its own that begins with :func:`wait_shortly`.

    Args:
        connection: the one that ``attempt`` works on; outside a transaction.
        schema: whose tables it locks.
        what: for messages, such as ``the migration``.

    Raises:
        DatabaseError: others held its locks for ``PATIENCE_SECONDS``; says who.
    """
    began, pause, said = time.monotonic(), 0.25, False
    while True:
        try:
            return attempt()
        except Exception as exc:
            # SQLAlchemy wraps the driver's errors.
            if not isinstance(getattr(exc, "orig", exc), IN_USE):
                raise
            found = holders(connection, schema)
            who = ", ".join(who for who, _ in found) or "some transaction"
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise DatabaseError(
                    f"{what} did not get its locks within {time.monotonic() - began:.0f} seconds, "
                    f"and nothing is changed; they are held by {who}; try again when it has "
                    f"ended, or end it: {'; '.join(end for _, end in found) or 'see pg_locks'}"
                ) from exc
            if not said:
                said = True
                logger.warning("%s waits for %s; it tries again and again", what, who)
        time.sleep(pause * (0.5 + random.random()))
        pause = min(LONGEST_PAUSE, 2 * pause)


def holders(connection: Connection, schema: str) -> list[tuple[str, str]]:
    """Who has locks on the tables of a schema, longest transaction first, and what ends each."""
    with connection.transaction():
        rows = connection.execute(_HOLDERS, (schema,)).fetchall()
    return [(who, end) for who, end, _ in rows]
