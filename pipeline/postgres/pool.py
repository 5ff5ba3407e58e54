"""Connections that threads share, each looked at before it is used: the way of whoever searches.

One that was cut while it lay idle (a restart, a failover, a terminated backend, a firewall) is
replaced before anybody meets it; work that loses its connection in the middle is done once more on
another. Work is therefore a function that may run twice, as whatever reads may.

After ``os.fork()`` the child has connections of its own, and leaves its parent's alone.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, TypeVar

import psycopg
import psycopg_pool

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import APPLICATION, CONNECT, Connection
from pipeline.postgres.database import Database
from pipeline.postgres.faults import is_away
from pipeline.postgres.reconnect import is_temporary
from pipeline.postgres.session import settle
from pipeline.postgres.steps import Pause, Row, Statement, Steps
from pipeline.postgres.urls import libpq_url

T = TypeVar("T")

# So long somebody waits for a connection: for a server that restarts, or for other threads' work.
PATIENCE_SECONDS = 30.0
# Then one looks why. The pool's own attempts to connect end as soon: its pauses double, and after
# a long outage nobody is to wait for the end of one.
LOOK_SECONDS = 2.0
SIZE = 16

_Connections: TypeAlias = psycopg_pool.ConnectionPool[Connection]


class Pool(Protocol):
    """Where connections come from, for any number of threads."""

    def connection(self) -> contextlib.AbstractContextManager[Connection]:
        """One that answers, for a moment.

        Raises:
            DatabaseError: there is none, and why.
        """

    def close(self) -> None:
        """End its connections; nothing is to be had from it afterwards."""


def run(pool: Pool, work: Callable[[Connection], T]) -> T:
    """``work(connection)``, and once more where the connection was lost in the middle of it.

    Raises:
        psycopg.Error: what the server says.
        DatabaseError: there is no connection.
    """
    try:
        with pool.connection() as connection:
            return work(connection)
    except psycopg.Error as exc:
        if not is_lost(exc):
            raise
    with pool.connection() as connection:
        return work(connection)


def take(pool: Pool, steps: Steps[T]) -> T:
    """What the steps come to; each statement by itself, and as :func:`run` does it.

    Raises:
        psycopg.Error: what the server says and the steps do not catch.
        DatabaseError: there is no connection.
    """
    try:
        step = next(steps)
        while True:
            try:
                rows = _taken(pool, step)
            except BaseException as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(rows)
    except StopIteration as done:
        value: T = done.value
        return value


def _taken(pool: Pool, step: Statement | Pause) -> list[Row]:
    if isinstance(step, Pause):
        time.sleep(step.seconds)
        return []
    return run(pool, lambda c: c.execute(step.sql, step.values, binary=True).fetchall())


def is_lost(exc: psycopg.Error) -> bool:
    """Whether the connection is gone, rather than a statement failed."""
    return is_away(exc) or (exc.sqlstate is None and isinstance(exc, psycopg.OperationalError))


def closed() -> DatabaseError:
    """What whoever asks a pool hears that was closed."""
    return DatabaseError("this index is closed; make a new one")


def why_none(
    database: Database, purpose: str, size: int, seconds: float, *, is_last: bool
) -> DatabaseError | None:
    """Why a pool of ours has no connection; None: it is worth waiting on.

    Args:
        size: the most connections that it has.
        seconds: that have been waited; ``is_last``: and no more will.
    """
    try:
        database.connect(purpose).close()
    except DatabaseError as why:
        return why if is_last or not is_temporary(why) else None
    if not is_last:
        return None
    return DatabaseError(
        f"all {size} connections have been in use for {seconds:.0f} s; "
        "search from fewer threads at a time"
    )


class DatabasePool:
    """Connections of our own, made when they are needed; none are kept that nobody uses for long.

    Args:
        purpose: shown in ``pg_stat_activity.application_name``.
        size: most connections at a time; further threads wait for theirs.
        seconds: that somebody waits for a connection, and that a statement may take where the
            session is ours alone; 0: ``patience``, and any time.
        patience: seconds that somebody waits for a connection, unless ``seconds`` says it.

    Raises:
        DatabaseError: as ``Database.open``, at once.
    """

    def __init__(
        self,
        database: Database,
        purpose: str = APPLICATION,
        size: int = SIZE,
        *,
        seconds: float = 0.0,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._database = database
        self._purpose = purpose
        self._size = size
        self._seconds = seconds
        self._patience = seconds or patience
        self._closed = False
        self._reset()
        database.open(purpose).close()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pool: _Connections | None = None
        self._owner = os.getpid()

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        pool = self._of_this_process()
        connection = self._one_that_answers(pool)
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _of_this_process(self) -> _Connections:
        if self._owner != os.getpid():
            self._reset()  # we were forked: the sockets are our parent's, its threads stayed there
        with self._lock:
            if self._closed:
                raise closed()
            if self._pool is None:
                self._pool = _Connections(
                    libpq_url(self._database.url),
                    kwargs={"autocommit": True, "application_name": self._purpose, **CONNECT},
                    min_size=0,
                    max_size=self._size,
                    configure=self._settle,
                    reconnect_timeout=LOOK_SECONDS,
                    name=self._purpose,
                    open=True,
                )
            return self._pool

    def _settle(self, connection: Connection) -> None:
        settle(connection, self._database.schema, statement_seconds=self._seconds)

    def _one_that_answers(self, pool: _Connections) -> Connection:
        patience = self._patience
        deadline = time.monotonic() + patience
        while True:
            try:
                connection = pool.getconn(min(LOOK_SECONDS, patience))
            except psycopg_pool.PoolTimeout as exc:
                is_last = time.monotonic() > deadline
                given = self._database, self._purpose, self._size, patience
                if why := why_none(*given, is_last=is_last):
                    raise why from exc
                continue
            except psycopg_pool.PoolClosed as exc:
                raise closed() from exc
            try:
                pool.check_connection(connection)
            except psycopg.Error:
                pool.putconn(connection)
                pool.check()  # the others that were cut with it go at once
                continue
            return connection

    def close(self) -> None:
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            pool.close()
