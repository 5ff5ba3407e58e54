"""The report of a run, left in ``ingest_runs`` when it ends, however it does."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.reconnect import exit_code
from pipeline.queue import runs
from pipeline.spaces import Space

logger = logging.getLogger(__name__)

TIMEOUT = "2s"


@dataclass(slots=True)
class Recorded:
    """What is known of a run so far.

    Attributes:
        worker: None: none has begun.
        report: None: it did not come so far.
    """

    worker: str | None = None
    report: IngestReport | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it found nothing to do; a schedule of a minute has a thousand such a day."""
        return self.worker is None and not (self.report and self.report.seconds_indexing)


@contextlib.contextmanager
def recorded(database: Database, space: Space, days: float) -> Iterator[Recorded]:
    """A run within. Its report is kept when it ends, and what is older than so many days goes.

    A report that cannot be kept is said to be, and fails nothing.

    Args:
        days: 0: reports are kept for ever.
    """
    began = time.monotonic()
    run = Recorded()
    error: BaseException | None = None
    try:
        yield run
    except BaseException as exc:
        error = exc
        raise
    finally:
        if error is not None or not run.is_idle:
            _keep(database, _ended(space, run, error, time.monotonic() - began), days)


def _ended(space: Space, run: Recorded, error: BaseException | None, lasted: float) -> runs.Ended:
    report = run.report or IngestReport(space.name)
    # What is no Exception is the wish of whoever runs it, such as a signal.
    failure = error if isinstance(error, Exception) else None
    return runs.Ended(
        space_id=space.id,
        lasted=lasted,
        worker=run.worker,
        done=report.done,
        failed=report.failed,
        retrying=report.retrying,
        items=report.items,
        reused=report.reused,
        seconds=report.seconds,
        exit_code=exit_code(failure) if failure else report.exit_code,
        stopped=report.stopped or failure is not error,
        error=type(failure).__name__ if failure else None,
    )


@contextlib.contextmanager
def _shortly(connection: Connection) -> Iterator[None]:
    """A transaction whose statements nobody's lock keeps for long."""
    with connection.transaction():
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (TIMEOUT,))
        yield


def _keep(database: Database, run: runs.Ended, days: float) -> None:
    try:
        with contextlib.closing(database.open("pipeline run report")) as connection:
            with _shortly(connection):
                runs.store(connection, run)
            if days:
                with _shortly(connection):
                    runs.forget(connection, days)
    except Exception as exc:
        # A run that the database failed has said so.
        level = logging.WARNING if run.error is None else logging.INFO
        logger.log(level, "the report of this run is not kept in ingest_runs: %s", exc)
