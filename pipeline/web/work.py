"""What is to be done and what failed: per space and modality, per worker, per code."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.queue.failures import Failure, explained

MOST_WORKERS = 100
MOST_FAILURES = 100


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of one modality of one space.

    Attributes:
        oldest_pending: how long ago the source item changed whose job waits longest.
        per_minute: new items in the last quarter hour.
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
class Holder:
    """A worker and the jobs that it holds; ``lapsed`` of them it has lost by now."""

    worker: str
    space: str
    jobs: int
    lapsed: int
    leased_until: datetime
    first: int


def holders(connection: Connection) -> list[Holder]:
    """Who holds jobs, most first. For who may read the queue."""
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        return cursor.execute(
            """
            SELECT coalesce(j.worker, '?') AS worker, e.name AS space, count(*) AS jobs,
                count(*) FILTER (WHERE j.leased_until < now()) AS lapsed,
                max(j.leased_until) AS leased_until, min(j.source_id) AS first
            FROM ingest_jobs AS j JOIN embedding_spaces AS e ON e.id = j.space_id
            WHERE j.state = 'running'
            GROUP BY 1, 2 ORDER BY jobs DESC, 1 LIMIT %s
            """,
            (MOST_WORKERS,),
        ).fetchall()


def failed_with(
    connection: Connection, space: str, code: str, after: int
) -> Sequence[dict[str, Any]]:
    """The next failed jobs of a code, by source item, with no secret in what may be a URL."""
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        found = cursor.execute(
            """
            SELECT source_id, source, source_key, left(content_ref, 10000) AS content_ref,
                octet_length(content_ref) AS content_bytes, error_code AS code, error, attempts
            FROM ingest_failures
            WHERE space = %s AND state = 'failed' AND error_code = %s AND source_id > %s
            ORDER BY source_id LIMIT %s
            """,
            (space, code, after, MOST_FAILURES),
        ).fetchall()
    return explained(found)
