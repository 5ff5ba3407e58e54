"""A connection that comes back: the worker's way through restarts, cut and deaf connections."""

import contextlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from pipeline.errors import EX_TEMPFAIL, DatabaseError, ModelUnavailable
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.faults import is_away, is_conflict, is_misconfigured
from pipeline.settings import DEFAULT_SCHEMA

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_DELAY, LARGEST_DELAY = 0.1, 10.0  # seconds between two attempts to connect
# A deadlock, a serialisation failure or whatever else cancels a statement is over in moments: in
# all some four seconds of pauses, and whoever still loses then is not merely unlucky.
CONFLICT_TRIES = 12
FIRST_PAUSE, LARGEST_PAUSE = 0.01, 1.0  # seconds between two of them
CANCEL_SECONDS = 1.0  # for the server to hear that a statement is not wanted any more
# What no waiting cures, in the words of libpq and the server.
_FINAL = ("authentication failed", "no password supplied", "does not exist", "pg_hba.conf")


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked us to stop)
    """Raised out of a wait for the database when the worker is told to stop."""


class Outage:
    """What the connections of one worker know together about a database that is away.

    It begins when the first of them loses it and ends when all that lost it have it back: one
    line of warning, however many threads notice and however late.
    """

    def __init__(self, patience: float, stop: threading.Event) -> None:
        self.patience = patience
        self.stop = stop
        self._lock = threading.Lock()
        self._away: set[str] = set()
        self._since = 0.0
        self._ended = -1.0

    def lost(self, role: str, connected_at: float, reason: str) -> bool:
        """Whether to wait before connecting again: not where only this connection is stale,
        since it dates from before the end of an outage that is over."""
        with self._lock:
            if not self._away and connected_at < self._ended:
                return False
            if not self._away:
                self._since = time.monotonic()
                logger.warning(
                    "lost the database (%s); trying again for up to %.0f s",
                    reason,
                    self.patience,
                    extra={"role": role, "patience_seconds": self.patience},
                )
            self._away.add(role)
            return True

    def back(self, role: str) -> None:
        if role not in self._away:
            return
        with self._lock:
            self._away.discard(role)
            if not self._away:
                self._ended = time.monotonic()
                seconds = self._ended - self._since
                logger.info("the database is back", extra={"outage_seconds": round(seconds, 1)})

    def exhausted(self) -> bool:
        with self._lock:
            return bool(self._away) and time.monotonic() - self._since > self.patience


class ReconnectingConnection:
    """One connection for one thread. ``run`` repeats its work on a new connection after a loss.

    The work may therefore run twice. Every statement of the queue and the writer allows that: a
    finish that was committed but not acknowledged finds no job the second time.
    """

    def __init__(
        self, url: str, role: str, outage: Outage, *, schema: str = DEFAULT_SCHEMA
    ) -> None:
        self._url = url
        self._schema = schema
        self._role = role
        self._outage = outage
        self._connection: Connection | None = None
        self._connected_at = 0.0
        self._busy_since: float | None = None
        self._closed = False

    def run(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)``, as often as it takes.

        Raises:
            DatabaseError: the database stayed away longer than the outage's patience.
            Stopped: the worker is to stop and the database is away, or others are in the way.
            psycopg.Error: what the server says, of a conflict with others after
                ``CONFLICT_TRIES``, of anything else at once.
        """
        delay, pause, conflicts = FIRST_DELAY, FIRST_PAUSE, 0
        while True:
            try:
                result = self._attempt(work)
            except (psycopg.Error, DatabaseError) as exc:
                if isinstance(exc, psycopg.Error) and not self._is_loss(exc):
                    conflicts += 1
                    if not is_conflict(exc) or conflicts >= CONFLICT_TRIES:
                        raise
                    self._wait(pause, exc)
                    pause = min(pause * 2, LARGEST_PAUSE)
                    continue
                self._drop()
                if self._closed:
                    raise Stopped from exc
                reason = " ".join(str(exc).split())[:300]
                if not self._outage.lost(self._role, self._connected_at, reason):
                    self._connected_at = time.monotonic()  # once; then it is an outage
                    continue
                if self._outage.exhausted():
                    raise DatabaseError(
                        f"the database stayed away for {self._outage.patience:.0f} s "
                        f"(PIPELINE_OUTAGE_SECONDS): {reason}"
                    ) from exc
                self._wait(delay, exc)
                delay = min(delay * 2, LARGEST_DELAY)
            else:
                self._outage.back(self._role)
                return result

    def _wait(self, seconds: float, exc: Exception) -> None:
        """Between half of ``seconds`` and all: those who collided do not meet again."""
        if self._outage.stop.wait(seconds * (0.5 + random.random() / 2)):
            raise Stopped from exc

    def _attempt(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise Stopped
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, schema=self._schema, role=self._role)
            self._connected_at = time.monotonic()
        self._busy_since = time.monotonic()
        try:
            return work(self._connection)
        finally:
            self._busy_since = None

    def _is_loss(self, exc: psycopg.Error) -> bool:
        """Whether waiting and connecting again may help."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            return True
        if exc.sqlstate is None:
            # Of the driver's own. An InternalError is a conversation out of step, as where a
            # bouncer loses its server in mid-COMMIT; the other kinds are a mistake of the caller's.
            return isinstance(
                exc, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
            )
        return is_away(exc)

    def cut_if_deaf(self, seconds: float) -> None:
        """Called by another thread: ends a statement whose answer will never come.

        After ``seconds`` a second connection asks the server. A statement that it still works on
        (it waits for a lock, say) is left alone.
        """
        since, connection = self._busy_since, self._connection
        if since is None or connection is None or time.monotonic() - since < seconds:
            return
        if self._is_at_work(connection.info.backend_pid) or self._busy_since != since:
            return
        try:
            # Our own duplicate of the descriptor: the other thread may close its one meanwhile.
            with socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            logger.debug("the deaf connection was gone already", exc_info=True)

    def _is_at_work(self, backend: int) -> bool:
        try:
            with connect(self._url, schema=None, role="pipeline probe") as probe:
                row = probe.execute(
                    "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s", (backend,)
                ).fetchone()
        except (DatabaseError, psycopg.Error):
            return False
        return bool(row and row[0])

    def close(self) -> None:
        """For good: a thread that still comes here gets ``Stopped`` and no new connection."""
        self._closed = True
        connection = self._connection
        if connection is not None and self._busy_since is not None:
            # Else the server would go on waiting for a lock, say, and do what nobody asks for then.
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_SECONDS)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def exit_code(exc: Exception) -> int:
    """Of a command that this error ended: 75 where the database or the model is merely out of
    reach, so that a scheduler tries again; else 1."""
    if isinstance(exc, (psycopg.Error, DatabaseError)):
        return EX_TEMPFAIL if is_temporary(exc) else 1
    return EX_TEMPFAIL if isinstance(exc, ModelUnavailable) else 1


def is_temporary(exc: Exception) -> bool:
    """Whether the database was merely out of reach, so that trying again later may help."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, psycopg.OperationalError):
        if is_away(cause):
            return True
        cause = cause.__cause__
    if cause is None or (cause.sqlstate or "").startswith("54"):  # too large or deep: for good
        return False
    return not (is_misconfigured(cause) or any(words in str(cause) for words in _FINAL))
