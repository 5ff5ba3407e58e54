"""A connection that comes back: the worker's way through restarts, cut and deaf connections."""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from pipeline.database import Connection, connect
from pipeline.errors import DatabaseError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A statement of ours takes milliseconds; after this long the other end is held to be deaf.
DEAF_SECONDS = 60.0


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked us to stop)
    """Raised out of a wait for the database when the worker is told to stop."""


class Outage:
    """What the connections of one worker know together about a database that is away.

    One log line when it goes, one when it is back, however many threads notice.
    """

    def __init__(self, patience: float, stop: threading.Event) -> None:
        self.patience = patience
        self.stop = stop
        self._lock = threading.Lock()
        self._since: float | None = None

    def begins(self, reason: str) -> None:
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                logger.warning(
                    "lost the database (%s); trying again for up to %.0f s", reason, self.patience
                )

    def ends(self) -> None:
        with self._lock:
            if self._since is not None:
                logger.warning(
                    "the database is back after %.1f s", time.monotonic() - self._since
                )
                self._since = None

    def exhausted(self) -> bool:
        with self._lock:
            return self._since is not None and time.monotonic() - self._since > self.patience


class ReconnectingConnection:
    """One connection for one thread. ``run`` repeats its work on a new connection after a loss.

    The work may therefore run twice. Every statement of the queue and the writer allows that: a
    finish that was committed but not acknowledged finds no job the second time.
    """

    def __init__(self, url: str, role: str, outage: Outage) -> None:
        self._url = url
        self._role = role
        self._outage = outage
        self._connection: Connection | None = None
        self._busy_since: float | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)``, as often as it takes.

        Raises:
            DatabaseError: the database stayed away longer than the outage's patience.
            Stopped: the worker is to stop and the database is away.
        """
        delay = 0.1
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self._url, role=self._role)
                self._busy_since = time.monotonic()
                try:
                    result = work(self._connection)
                finally:
                    self._busy_since = None
                self._outage.ends()
                return result
            except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseError) as exc:
                if isinstance(exc, psycopg.OperationalError) and not self._is_loss(exc):
                    if (exc.sqlstate or "").startswith("40"):
                        continue  # a deadlock or a serialisation failure: the loser tries again
                    raise
                self.close()
                self._outage.begins(" ".join(str(exc).split())[:200])
                if self._outage.exhausted():
                    raise DatabaseError(
                        f"the database stayed away for {self._outage.patience:.0f} s "
                        f"(PIPELINE_OUTAGE_SECONDS): {' '.join(str(exc).split())[:300]}"
                    ) from exc
                if self._outage.stop.wait(delay * (0.5 + random.random() / 2)):
                    raise Stopped from exc
                delay = min(delay * 2, 10.0)

    def _is_loss(self, exc: psycopg.OperationalError) -> bool:
        """Whether waiting and connecting again may help; it does not against a full disk."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            return True
        # 08: connection; 53300: too many connections; 57P0x: shutting down
        state = exc.sqlstate or "08"
        return state.startswith(("08", "57P")) or state == "53300"

    def cut_if_deaf(self, seconds: float = DEAF_SECONDS) -> None:
        """Called by another thread: ends a statement that waits on a peer that never answers."""
        since, connection = self._busy_since, self._connection
        if since is None or connection is None or time.monotonic() - since < seconds:
            return
        try:
            # Our own duplicate of the descriptor: the other thread may close its one meanwhile.
            with socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            logger.debug("the deaf connection was gone already", exc_info=True)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
