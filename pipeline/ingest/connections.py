"""The connections of one worker: one for each purpose, opened here, watched and closed together."""

import threading

from pipeline.postgres.database import Database
from pipeline.postgres.reconnect import Outage, ReconnectingConnection


class Connections:
    """Hands out connections that come back after an outage, which they know of together.

    Args:
        outage_seconds: how long to wait for a database that is away.
        abort: ends every wait for it.
    """

    def __init__(self, database: Database, outage_seconds: float, abort: threading.Event) -> None:
        self._database = database
        self._outage = Outage(outage_seconds, abort)
        self._all: list[ReconnectingConnection] = []

    def open(self, purpose: str) -> ReconnectingConnection:
        """One for one thread; nothing is connected before it is used."""
        connection = ReconnectingConnection(
            self._database.url,
            f"pipeline {purpose}",
            self._outage,
            schema=self._database.schema,
        )
        self._all.append(connection)
        return connection

    def cut_deaf_ones(self, seconds: float) -> None:
        """End statements whose answer will never come, of those that have waited so long."""
        for connection in self._all:
            connection.cut_if_deaf(seconds)

    def close(self) -> None:
        """For good: a thread that still uses one gets ``Stopped``."""
        for connection in self._all:
            connection.close()
