"""The stages beside the work: heartbeats for the jobs in hand, and an eye on deaf connections."""

from dataclasses import dataclass

from pipeline.ingest.connections import Connections
from pipeline.ingest.control import Control
from pipeline.ingest.in_flight import InFlight
from pipeline.postgres.connections import Connection
from pipeline.queue import claims


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Seconds that a claim holds by itself, and between two heartbeats that prolong it."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 20.0


class Heartbeat:
    """Prolongs the leases of the jobs in flight."""

    def __init__(
        self,
        connections: Connections,
        control: Control,
        in_flight: InFlight,
        space_id: int,
        worker_id: str,
        options: LeaseOptions,
    ) -> None:
        self._connection = connections.open("heartbeat")
        self._control = control
        self._in_flight = in_flight
        self._space_id = space_id
        self._worker_id = worker_id
        self._options = options

    def run(self) -> None:
        while not self._control.drained.wait(self._options.heartbeat_seconds):
            ids = self._in_flight.ids()
            if ids:
                self._connection.run(lambda c, ids=ids: self._prolong(c, ids))  # type: ignore[misc]

    def _prolong(self, connection: Connection, ids: list[int]) -> None:
        claims.heartbeat(
            connection, self._space_id, self._worker_id, ids, self._options.lease_seconds
        )


class Watch:
    """Whoever waits for an answer longer than a lease lasts has lost its jobs anyway."""

    def __init__(self, connections: Connections, control: Control, options: LeaseOptions) -> None:
        self._connections = connections
        self._control = control
        self._seconds = options.lease_seconds

    def run(self) -> None:
        while not self._control.drained.wait(min(1.0, self._seconds)):
            self._connections.cut_deaf_ones(self._seconds)
