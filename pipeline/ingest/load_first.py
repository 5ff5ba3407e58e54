"""A large backlog for an empty active space is loaded first, and its index built after.

Inserting into HNSW costs more than everything else together (docs/performance.md), so the indexes
of the empty tables are taken off, and built in parallel when the backlog is through. Until then a
search reads every vector: slower, and exact. Whoever ends the backlog builds, also where the run
that took the indexes off was killed.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import psycopg

from pipeline import spaces
from pipeline.errors import PipelineError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.session import is_direct
from pipeline.queue import status
from pipeline.spaces import Space

logger = logging.getLogger(__name__)

# How often a worker that watches looks whether the backlog is through.
LOOK_SECONDS = 5.0
LONGEST_PAUSE = 600.0  # after a build that failed


def lacks_index(connection: Connection, space: Space) -> bool:
    """Whether the space is searched and has no whole index, so that somebody is to build it."""
    return space.state == "active" and not spaces.has_whole_index(connection)


def take_off_index(connection: Connection, space: Space, due: int, first_rows: int) -> bool:
    """Take the indexes off where ``due`` rows meet an empty active space; whether that was done.

    Args:
        first_rows: from so many rows on it pays; 0: never.
    """
    return (
        0 < first_rows <= due
        and space.state == "active"
        and spaces.is_empty(connection, space)
        and spaces.has_whole_index(connection)
        and _may_build(connection)
        and spaces.take_off_indexes(connection, space)
    )


def index_now(
    database: Database, space: Space, first_rows: int, build: Callable[[], None]
) -> float:
    """Build the index if it is time to; the seconds that took."""
    with database.open("pipeline index") as connection:
        if not _is_time(connection, space, first_rows) or not _may_build(connection, warn=True):
            return 0.0
    began = time.monotonic()
    build()
    return time.monotonic() - began


@contextlib.contextmanager
def index_beside(
    database: Database, space: Space, first_rows: int, build: Callable[[], None]
) -> Iterator[None]:
    """Build the index when it is time to, in a thread beside a worker that goes on for ever."""
    ended = threading.Event()

    def wait_and_build() -> None:
        pause = LOOK_SECONDS
        while not ended.is_set():
            try:
                with database.open("pipeline index") as connection:
                    if not _may_build(connection, warn=True):
                        return
                    while not _is_time(connection, space, first_rows):
                        if ended.wait(LOOK_SECONDS):
                            return
                build()
                return
            except (PipelineError, psycopg.Error) as exc:  # the worker outlives it, and so do we
                logger.warning("the index is not built, again in %.0f s: %s", pause, exc)
            ended.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    thread = threading.Thread(target=wait_and_build, name="load first", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LOOK_SECONDS)


def _is_time(connection: Connection, space: Space, first_rows: int) -> bool:
    """Whether little is left of the backlog. With --limit, and of several runs, the last builds."""
    return status.counts(connection, space.id).due < max(1, first_rows)


def _may_build(connection: Connection, *, warn: bool = False) -> bool:
    """Building needs the tables' owner, and a session: locks and settings that last."""
    direct = is_direct(connection)
    if direct and spaces.owns_tables(connection):
        return True
    if warn:
        logger.warning(
            "multimodal_items has no HNSW index and this %s build it; run `pipeline space build "
            "--no-embed` as the owner of the tables, directly",
            "role cannot" if direct else "connection, by way of a bouncer, cannot",
        )
    return False
