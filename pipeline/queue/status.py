"""What is stored, what is to do and who does it, off the queue and the views ``ingest_status`` and
``unsupported_source_items``."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.rights import may
from pipeline.postgres.row_security import is_kept_from_rows
from pipeline.queue import workers
from pipeline.queue.workers import Lately

_MOST_WORKERS = 100


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """One modality of one space."""

    space: str
    state: str
    model: str
    modality: str
    items: int
    pending: int
    running: int
    failed: int


def may_know_counts(connection: Connection) -> bool:
    """Whether the queue's counts, which are of everybody's rows, are this login's to know: it may
    read the views, and no policy hides rows from it."""
    return may(connection, "ingest_status", "SELECT") and not is_kept_from_rows(connection)


def ingest_status(connection: Connection) -> list[IngestStatus]:
    """One row per space and modality, oldest space first."""
    with connection.cursor(row_factory=class_row(IngestStatus)) as cursor:
        return cursor.execute(
            """
            SELECT i.space, i.state, s.model, i.modality, i.items, i.pending, i.running, i.failed
            FROM ingest_status AS i JOIN embedding_spaces AS s ON s.name = i.space
            ORDER BY s.id, i.modality
            """
        ).fetchall()


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of one modality of one space.

    Attributes:
        oldest_pending: how long ago the source item changed whose job waits longest.
        per_minute: source items embedded, over the last quarter hour or since work began in it.
    """

    space: str
    state: str
    modality: str
    items: int
    pending: int
    running: int
    failed: int
    oldest_pending: timedelta | None
    per_minute: float

    @property
    def time_left(self) -> float | None:
        """Seconds until what waits is done at that rate; None: nothing is, or nothing waits."""
        left = self.pending + self.running
        return 60 * left / self.per_minute if left and self.per_minute else None


def work(connection: Connection) -> list[Work]:
    """Of every space, oldest first."""
    with connection.cursor(row_factory=class_row(Work)) as cursor:
        return cursor.execute(
            """
            SELECT i.space, i.state, i.modality, i.items, i.pending, i.running, i.failed,
                i.oldest_pending, i.per_minute
            FROM ingest_status AS i JOIN embedding_spaces AS e ON e.name = i.space
            ORDER BY e.id, i.modality
            """
        ).fetchall()


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Source items that no space in use can embed: none has their modality."""

    modality: str
    source_items: int


def unsupported(connection: Connection) -> list[Unsupported]:
    """By modality; none where every row has a space. Reads every source item once."""
    with connection.cursor(row_factory=class_row(Unsupported)) as cursor:
        return cursor.execute(
            "SELECT modality, source_items FROM unsupported_source_items ORDER BY modality"
        ).fetchall()


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs of one space by state; ``due`` are the pending ones that may be claimed now."""

    pending: int
    due: int
    running: int
    failed: int


_COUNTS = """
SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
    count(*) FILTER (WHERE state = 'pending' AND run_after <= now()) AS due,
    count(*) FILTER (WHERE state = 'running') AS running,
    count(*) FILTER (WHERE state = 'failed') AS failed
FROM ingest_jobs WHERE space_id = %s
"""


def counts(connection: Connection, space_id: int) -> QueueCounts:
    """Jobs of the space by state, in one snapshot."""
    with connection.cursor(row_factory=class_row(QueueCounts)) as cursor:
        return fetch_one(cursor.execute(_COUNTS, (space_id,)))


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker and the jobs that it holds; ``lapsed`` of them it has lost by now.

    Attributes:
        first: the source item with the lowest number among them.
        lately: what its stages did; None: it never said, as one that has just begun, or of a
            release before.
    """

    worker: str
    space: str
    jobs: int
    lapsed: int
    leased_until: datetime
    first: int
    lately: Lately | None = None


def holders(connection: Connection) -> list[Holder]:
    """Who holds jobs, most first. For who may read the queue."""
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        found = cursor.execute(
            """
            SELECT coalesce(j.worker, '?') AS worker, e.name AS space, count(*) AS jobs,
                count(*) FILTER (WHERE j.leased_until < now()) AS lapsed,
                max(j.leased_until) AS leased_until, min(j.source_id) AS first
            FROM ingest_jobs AS j JOIN embedding_spaces AS e ON e.id = j.space_id
            WHERE j.state = 'running'
            GROUP BY 1, 2 ORDER BY jobs DESC, 1 LIMIT %s
            """,
            (_MOST_WORKERS,),
        ).fetchall()
    if not found or not may(connection, "ingest_workers", "SELECT"):
        return found
    said = workers.last(connection, [one.worker for one in found])
    return [replace(one, lately=said.get(one.worker)) for one in found]
