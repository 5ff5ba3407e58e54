"""The stages beside the work: heartbeats for the jobs in hand, and an eye on deaf connections; and
what gives back, at the end, the jobs that are still in hand."""

import contextlib
import logging
from dataclasses import dataclass

import psycopg

from pipeline.errors import DatabaseError
from pipeline.ingest.connections import Connections
from pipeline.ingest.control import Control
from pipeline.ingest.in_flight import InFlight
from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import Connection, short_lock_timeout
from pipeline.postgres.database import Database
from pipeline.queue import claims, locked, workers

logger = logging.getLogger(__name__)

# How long giving jobs back waits for a lock on the whole queue, as of a TRUNCATE.
LOCK_TIMEOUT_MS = 1000
# How long a heartbeat waits to say what the stages did: leases are what it is for.
SAY_TIMEOUT_MS = 100


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Seconds that a claim holds by itself, and between two heartbeats that prolong it."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 20.0


class Heartbeat:
    """Prolongs the leases of the jobs in flight, and says what the stages did meanwhile."""

    def __init__(
        self,
        connections: Connections,
        control: Control,
        in_flight: InFlight,
        space_id: int,
        worker_id: str,
        options: LeaseOptions,
        report: IngestReport,
    ) -> None:
        self._connection = connections.open("heartbeat")
        self._control = control
        self._in_flight = in_flight
        self._space_id = space_id
        self._worker_id = worker_id
        self._options = options
        self._report = report
        self._may_say = True

    def run(self) -> None:
        before = self._report.so_far()
        while not self._control.drained.wait(self._options.heartbeat_seconds):
            ids = self._in_flight.ids()
            if ids:
                self._connection.run(lambda c, ids=ids: self._prolong(c, ids))  # type: ignore[misc]
            now = self._report.so_far()
            if ids and self._may_say:
                said = now.moment - before.moment, now.since(before)
                self._connection.run(lambda c, said=said: self._say(c, *said))  # type: ignore[misc]
            before = now

    def _prolong(self, connection: Connection, ids: list[int]) -> None:
        claims.heartbeat(
            connection, self._space_id, self._worker_id, ids, self._options.lease_seconds
        )

    def _say(self, connection: Connection, seconds: float, stages: list[workers.Stage]) -> None:
        """Nothing depends on it: whoever may not, or whose tables are older, does without."""
        try:
            with short_lock_timeout(connection, SAY_TIMEOUT_MS):
                workers.say(connection, self._space_id, self._worker_id, seconds, stages)
        except psycopg.errors.LockNotAvailable:
            logger.debug("ingest_workers is locked; the stages are told the next time")
        except (psycopg.ProgrammingError, psycopg.IntegrityError) as exc:
            self._may_say = False
            logger.info("what the stages do is not told in ingest_workers: %s", exc)


class Watch:
    """Whoever waits for an answer longer than a lease lasts has lost its jobs anyway."""

    def __init__(self, connections: Connections, control: Control, options: LeaseOptions) -> None:
        self._connections = connections
        self._control = control
        self._seconds = options.lease_seconds

    def run(self) -> None:
        while not self._control.drained.wait(min(1.0, self._seconds)):
            self._connections.cut_deaf_ones(self._seconds)


def give_back(database: Database, space_id: int, worker_id: str, in_hand: int) -> None:
    """All that the worker still holds goes back untouched. Tried once, on a connection of its own;
    the leases of what cannot be given back lapse."""
    try:
        with contextlib.closing(database.connect("pipeline release")) as connection:
            left = _release(connection, space_id, worker_id, in_hand)
    except (DatabaseError, psycopg.Error) as exc:
        reason = " ".join(str(exc).split())[:300]
        logger.warning("could not give %d rows back; their leases will lapse: %s", in_hand, reason)
        return
    if left:
        logger.warning(
            "%d rows are locked by somebody else and could not be given back; their leases will "
            "lapse",
            left,
        )


def _release(connection: Connection, space_id: int, worker_id: str, in_hand: int) -> int:
    """How many could not be given back, as somebody else has them locked."""
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            claims.release(connection, space_id, worker_id)
    except psycopg.errors.LockNotAvailable:
        return in_hand
    return locked.count_held(connection, space_id, worker_id)
