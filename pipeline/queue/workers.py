"""What each worker's stages did lately: every statement on ``ingest_workers``."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from psycopg.types.json import Jsonb

from pipeline.postgres.connections import Connection

# Of a worker that was killed, or that has had nothing to do for so long.
KEPT = "1 hour"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a worker, over the time between two of its heartbeats.

    Attributes:
        at_work: the share of that time in which it worked, from 0 to 1.
        bottleneck: the share of it in which the others waited for this stage.
    """

    stage: str
    at_work: float
    bottleneck: float

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON. Raises TypeError or ValueError where it is something else."""
        one = cls(**found)
        shares = (one.at_work, one.bottleneck)
        if not isinstance(one.stage, str) or not all(0 <= share <= 1 for share in shares):
            raise ValueError(found)
        return one


@dataclass(frozen=True, slots=True)
class Lately:
    """What a worker said last of its stages.

    Attributes:
        seen_at: when.
        seconds: of the time of which it spoke, until then.
        stages: in the order of the work.
    """

    seen_at: datetime
    seconds: float
    stages: tuple[Stage, ...]

    @property
    def bottleneck(self) -> Stage | None:
        """The stage that the others waited for most; None: they waited for none."""
        most = max(self.stages, key=lambda stage: stage.bottleneck, default=None)
        return most if most and most.bottleneck else None


def last(connection: Connection, names: Sequence[str]) -> dict[str, Lately]:
    """What these workers said last; without those who said nothing, or what cannot be understood:
    the table holds what anybody with its rights wrote."""
    found = {}
    for name, seen_at, seconds, stages in connection.execute(
        """
        SELECT worker, seen_at, seconds, stages FROM ingest_workers
        WHERE worker = ANY (%s) AND seen_at > now() - %s::interval
        """,
        (list(names), KEPT),
    ):
        with contextlib.suppress(TypeError, ValueError):
            found[name] = Lately(seen_at, seconds, tuple(map(Stage.read, stages)))
    return found


def say(
    connection: Connection, space_id: int, worker: str, seconds: float, stages: Iterable[Stage]
) -> None:
    """What the stages did in the last seconds, in place of what was said before; and what nobody
    has renewed for :data:`KEPT` goes."""
    connection.execute(
        """
        INSERT INTO ingest_workers AS w (worker, space_id, seconds, stages)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (worker) DO UPDATE
        SET seen_at = excluded.seen_at, seconds = excluded.seconds, stages = excluded.stages
        """,
        (worker, space_id, seconds, Jsonb([asdict(stage) for stage in stages])),
    )
    connection.execute("DELETE FROM ingest_workers WHERE seen_at < now() - %s::interval", (KEPT,))
