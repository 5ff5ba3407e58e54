"""Changing a table that is in use, without holding anybody up."""

import random
import time
from collections.abc import Callable

import psycopg

from pipeline.postgres.connections import Connection, short_lock_timeout

# A waiting exclusive lock stops every reader behind it, so it waits briefly.
PATIENCE_MS = 40
ATTEMPTS = 30


def with_patience(connection: Connection, work: Callable[[], bool]) -> bool | None:
    """``work`` in a transaction of its own that waits for no lock longer than readers can bear.

    Returns:
        What it gave; None: the lock could not be had.
    """
    pause = 0.02
    for _ in range(ATTEMPTS):
        try:
            with short_lock_timeout(connection, PATIENCE_MS):
                return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(pause * (0.5 + random.random()))
            pause = min(1.0, 2 * pause)
    return None
