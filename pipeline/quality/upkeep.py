"""Recall that holds by itself: indexes that were built or have grown are measured and tuned.

What it costs is bounded: ``SAMPLE`` queries per pair of modalities, scans for the truth for
``SCAN_SECONDS``, or for ``LEAST`` queries where those take longer. It reads, one statement a
transaction, so nobody who writes waits for it.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from pipeline.errors import PipelineError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.locks import reserved
from pipeline.postgres.rights import MEASURE, lack
from pipeline.postgres.session import takes_no_writes
from pipeline.quality import plain_sql, tunings
from pipeline.quality.tunings import Tuning
from pipeline.spaces import Space, get_space

logger = logging.getLogger(__name__)

RECALL_LOCK = 0x72636C6C
SCAN_SECONDS = 30.0
RETENTION_DAYS = 365.0
NOT_NOW = "recall was not measured, the next run will: %s"


@dataclass
class RecallUpkeep:
    """One look at a space; ``stop`` may be called by a signal handler.

    Attributes:
        progress: told what is being measured.
        retention_days: measurements that are older are forgotten; 0: none are.
        seconds: how long it took.
    """

    database: Database
    space: Space
    progress: Callable[[str], None] = lambda _: None
    retention_days: float = RETENTION_DAYS
    seconds: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End with the query that is being asked."""
        self._stopped.set()

    def is_due(self, connection: Connection) -> bool:
        """Whether there is something to measure, and this login may keep it."""
        if takes_no_writes(connection) or self.space.state == "retired":
            return False
        return lack(connection, MEASURE) is None and bool(tunings.due(connection, self.space))

    def run(self) -> list[Tuning]:
        """Measure what is due, and store it; nothing where another session does so already.

        It is upkeep: what keeps it from measuring is logged, and left to the next look.
        """
        began = time.monotonic()
        try:
            with (
                self.database.open("pipeline recall") as connection,
                self.database.open("pipeline recall lock") as guard,
                reserved(guard, (RECALL_LOCK << 32) + self.space.id, "space_tunings") as is_free,
            ):
                return self._measure(connection) if is_free else []
        except (PipelineError, psycopg.Error) as exc:
            logger.warning(NOT_NOW, exc)
            return []
        finally:
            self.seconds = time.monotonic() - began

    def _measure(self, connection: Connection) -> list[Tuning]:
        # Late: NumPy, which a run with nothing to measure must not pay for.
        from pipeline.quality.comparison import Budget
        from pipeline.quality.recall import record
        from pipeline.quality.tune import Trial, tune

        space = get_space(connection, self.space.name)  # its target may be another one by now
        found: list[Tuning] = []
        for modality in tunings.due(connection, space):
            trial = Trial(
                target=space.target_recall,
                budget=Budget(SCAN_SECONDS, stop=self._stopped),
                progress=self.progress,
            )
            measured = tune(connection, space, trial, [modality])
            if self._stopped.is_set():
                break
            tunings.store(connection, space, measured)
            counts = {one.item_modality: one.on.items for one in measured}
            record(
                connection,
                space,
                [one.chosen for one in measured],
                counts=counts,
                retention_days=self.retention_days,
            )
            found += measured
        for one in found:
            _tell(space, one)
        plain_sql.follow(connection)
        return found


def _tell(space: Space, tuning: Tuning) -> None:
    logger.log(
        logging.INFO if tuning.reached else logging.WARNING,
        "recall@10 of %s -> %s in the space %s is %.3f with ef_search %d%s",
        tuning.query_modality,
        tuning.item_modality,
        space.name,
        tuning.chosen.recall,
        tuning.chosen.ef_search,
        ""
        if tuning.reached
        else f", below {tuning.target:g}: the graph is too sparse, see `pipeline doctor`",
    )


def keep_up(upkeep: RecallUpkeep, starting: Callable[[RecallUpkeep], None] | None = None) -> None:
    """One look: measures if there is something to. What fails is logged, as it is upkeep.

    Args:
        starting: told of it before it begins.
    """
    try:
        with upkeep.database.open("pipeline recall") as connection:
            due = upkeep.is_due(connection)
            if not due and not takes_no_writes(connection):
                # Another space may be active, and others' indexes come or go.
                plain_sql.follow(connection)
    except (PipelineError, psycopg.Error) as exc:
        logger.warning(NOT_NOW, exc)
        return
    if due:
        if starting is not None:
            starting(upkeep)
        upkeep.run()
