"""Changing many rows that an application may be changing as well, in whatever order it likes."""

import logging
import time
from collections.abc import Callable, Sequence

from psycopg.errors import DeadlockDetected, LockNotAvailable

from pipeline.postgres.connections import Connection, short_lock_timeout

logger = logging.getLogger(__name__)

# A statement: short for whoever waits for one of its rows.
BATCH = 1_000
# For locks that a statement cannot pass by, such as those on tables. Far less than the server waits
# before it looks for a deadlock, in which it may well choose the application's transaction.
LOCK_TIMEOUT_MS = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between two rounds

Change = Callable[[list[int]], list[int]]


def piecewise(connection: Connection, ids: Sequence[int], change: Change) -> None:
    """Have all of these rows changed, those that others have locked a little later.

    Holds nothing while it waits, so that it is in nobody's way.

    Args:
        connection: outside a transaction.
        change: does it in one statement for those of some rows that nobody else has locked, waits
            for none, and gives the others.
    """
    left, pause, said = list(ids), SHORTEST_PAUSE, False
    while left := [
        other
        for start in range(0, len(left), BATCH)
        for other in _others(connection, left[start : start + BATCH], change)
    ]:
        if pause == LONGEST_PAUSE and not said:
            said = True
            logger.warning(
                "%d source items are locked by others, such as %s; they are tried again and again",
                len(left),
                left[0],
            )
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


def _others(connection: Connection, ids: list[int], change: Change) -> list[int]:
    """Those of these rows that somebody else has locked, the others being changed."""
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            return change(ids)
    except (LockNotAvailable, DeadlockDetected):
        return ids
