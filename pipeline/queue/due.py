"""Whether jobs wait, and since when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one


@dataclass(slots=True)
class CaughtUp:
    """That nothing was due for the first time, so that a run ends with what came before.

    Attributes:
        at: by the server's clock.
        in_hand: source items that the run held then: what changes of them is still its own, once.
    """

    at: datetime
    in_hand: set[int] = field(default_factory=set)

    @classmethod
    def now(cls, connection: Connection, in_hand: Iterable[int]) -> "CaughtUp":
        return cls(server_time(connection), set(in_hand))


def is_due(
    connection: Connection,
    space_id: int,
    *,
    suspects: bool = False,
    caught_up: CaughtUp | None = None,
) -> bool:
    """Whether a job waits that may be claimed now: any, or only one of the suspects.

    Args:
        caught_up: disregard jobs that came after it, but for those that were tried already and
            those of source items that were in hand.
    """
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM ingest_jobs
            WHERE space_id = %(space)s AND state = 'pending' AND run_after <= %(until)s::timestamptz
              AND (%(at)s::timestamptz IS NULL OR run_after <= %(at)s OR attempts > 0
                   OR source_id = ANY (%(in_hand)s)))
        """,
        {
            "space": space_id,
            "until": "epoch" if suspects else "now",
            "at": caught_up and caught_up.at,
            "in_hand": sorted(caught_up.in_hand) if caught_up else [],
        },
    ).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Remaining:
    """Jobs that came before a moment and are neither done nor failed.

    Attributes:
        due: may be claimed now.
        waiting: others hold them, or their next attempt is not due.
    """

    due: int
    waiting: int


# A first attempt under way of what came later has one attempt; a job that was there keeps the time
# at which it was due while it runs, and has more attempts once that time was put off.
_REMAINING = """
SELECT count(*) FILTER (WHERE is_due) AS due, count(*) FILTER (WHERE NOT is_due) AS waiting
FROM (
    SELECT state = 'pending' AND run_after <= now() AS is_due FROM ingest_jobs
    WHERE space_id = %(space)s AND state IN ('pending', 'running')
      AND (run_after <= %(at)s OR attempts > CASE state WHEN 'pending' THEN 0 ELSE 1 END)
) AS remaining
"""


def remaining(connection: Connection, space_id: int, at: datetime) -> Remaining:
    """What is left of the jobs that the space had at that moment, by the server's clock."""
    with connection.cursor(row_factory=class_row(Remaining)) as cursor:
        return fetch_one(cursor.execute(_REMAINING, {"space": space_id, "at": at}))


def server_time(connection: Connection) -> datetime:
    """Now, by the clock that jobs are timed with."""
    now: datetime = fetch_one(connection.execute("SELECT clock_timestamp()"))[0]
    return now
