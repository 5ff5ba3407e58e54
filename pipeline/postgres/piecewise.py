"""Changing many rows that an application may be changing as well, in whatever order it likes."""

from collections.abc import Callable, Sequence

from psycopg.errors import LockNotAvailable

from pipeline.postgres.connections import Connection, short_lock_timeout

# Less than the server waits before it looks for a deadlock, in which it may well choose the
# application's transaction.
LOCK_TIMEOUT_MS = 100


def piecewise(
    connection: Connection, ids: Sequence[int], change: Callable[[list[int]], int]
) -> int:
    """Have all of these rows changed, in as few transactions as others' locks allow.

    Waits for somebody's transaction only with one row and nothing else in hand, so that it is in
    nobody's way.

    Args:
        connection: outside a transaction.
        change: does it for some of the rows, in one statement, and says how many it did.
    """
    if not ids:
        return 0
    if len(ids) == 1:
        return change(list(ids))
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            return change(list(ids))
    except LockNotAvailable:
        middle = len(ids) // 2
        return piecewise(connection, ids[:middle], change) + piecewise(
            connection, ids[middle:], change
        )
