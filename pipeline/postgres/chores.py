"""What has to be looked after now and then, beside a command's own work."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import psycopg

from pipeline.errors import PipelineError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database

logger = logging.getLogger(__name__)

# How long the end of a command waits for a chore that is under way.
JOIN_SECONDS = 2.0


@contextlib.contextmanager
def every(
    seconds: float, database: Database, purpose: str, do: Callable[[Connection], object]
) -> Iterator[None]:
    """As long as this lasts: ``do`` at once and every so often, in a thread and on a connection of
    its own. What fails is said once and tried again."""
    stop = threading.Event()

    def run() -> None:
        said = False
        while True:
            try:
                with contextlib.closing(database.open(f"pipeline {purpose}")) as connection:
                    do(connection)
                said = False
            except (psycopg.Error, PipelineError) as exc:
                logger.log(
                    logging.DEBUG if said else logging.WARNING, "%s, later: %s", purpose, exc
                )
                said = True
            if stop.wait(seconds):
                return

    thread = threading.Thread(target=run, name=purpose, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(JOIN_SECONDS)
