"""Reports of runs of ingestion: every statement on ``ingest_runs``."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run.

    Attributes:
        worker: None: it ended before it had one.
        seconds: of the worker, once the model was loaded.
        exit_code: as of ``pipeline ingest``.
        stopped: whether it was told to stop.
        error: the kind of error that ended it.
    """

    worker: str | None
    done: int
    failed: int
    retrying: int
    items: int
    reused: int
    seconds: float
    exit_code: int
    stopped: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Run(Outcome):
    """One that ended."""

    space: str
    began_at: datetime
    ended_at: datetime

    @property
    def duration(self) -> timedelta:
        """From its beginning to its end."""
        return self.ended_at - self.began_at

    @property
    def rows_per_second(self) -> float:
        """Source items embedded, while the worker worked."""
        return self.done / self.seconds if self.seconds else 0.0


def last(connection: Connection, most: int = SHOWN) -> list[Run]:
    """The runs that ended last, newest first."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(
            """
            SELECT e.name AS space, r.began_at, r.ended_at, r.worker, r.done, r.failed, r.retrying,
                r.items, r.reused, r.seconds, r.exit_code, r.stopped, r.error
            FROM ingest_runs AS r JOIN embedding_spaces AS e ON e.id = r.space_id
            ORDER BY r.ended_at DESC, r.id DESC LIMIT %s
            """,
            (most,),
        ).fetchall()


@dataclass(frozen=True, slots=True)
class Ended(Outcome):
    """One that ends now; ``lasted``: seconds since it began."""

    space_id: int
    lasted: float


def store(connection: Connection, run: Ended) -> None:
    """Keep the report, by the database's clock."""
    connection.execute(
        """
        INSERT INTO ingest_runs (space_id, began_at, worker, done, failed, retrying, items, reused,
            seconds, exit_code, stopped, error)
        VALUES (%(space_id)s, now() - make_interval(secs => %(lasted)s), %(worker)s, %(done)s,
            %(failed)s, %(retrying)s, %(items)s, %(reused)s, %(seconds)s, %(exit_code)s,
            %(stopped)s, %(error)s)
        """,
        asdict(run),
    )


def forget(connection: Connection, days: float) -> int:
    """Delete reports of runs that ended so many days ago; how many."""
    return connection.execute(
        "DELETE FROM ingest_runs WHERE ended_at < now() - make_interval(secs => %s)",
        (86400 * days,),
    ).rowcount
