"""Whether jobs wait, and since when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.postgres.connections import Connection


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
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        return cls(row[0], set(in_hand))


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
