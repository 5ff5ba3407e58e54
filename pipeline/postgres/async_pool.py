"""Connections that the tasks of an event loop share: ``pool.py`` for whoever awaits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeAlias, TypeVar

import psycopg
import psycopg_pool

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres import pool as threads
from pipeline.postgres.connections import APPLICATION, CONNECT
from pipeline.postgres.database import Database
from pipeline.postgres.pool import closed, is_lost, why_none
from pipeline.postgres.session import Facts, settling
from pipeline.postgres.steps import Pause, Row, Statement, Steps
from pipeline.postgres.urls import libpq_url

T = TypeVar("T")

_Connection: TypeAlias = psycopg.AsyncConnection[Row]
_Connections: TypeAlias = psycopg_pool.AsyncConnectionPool[_Connection]


class Session(Protocol):
    """A connection of whichever driver, for a moment."""

    async def fetch(self, statement: Statement) -> list[Row]:
        """Its rows. Raises psycopg.Error, whatever the driver's own is."""


class AsyncPool(Protocol):
    """Where connections come from, for any number of tasks of one event loop."""

    def session(self) -> contextlib.AbstractAsyncContextManager[Session]:
        """One that answers.

        Raises:
            DatabaseError: there is none, and why.
        """

    async def close(self) -> None:
        """End its connections; nothing is to be had from it afterwards."""


async def take(pool: AsyncPool, steps: Steps[T]) -> T:
    """What the steps come to; as ``pool.take`` for threads.

    Raises:
        psycopg.Error: what the server says and the steps do not catch.
        DatabaseError: there is no connection.
    """
    try:
        step = next(steps)
        while True:
            try:
                rows = await _taken(pool, step)
            except (Exception, asyncio.CancelledError) as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(rows)
    except StopIteration as done:
        value: T = done.value
        return value


async def _taken(pool: AsyncPool, step: Statement | Pause) -> list[Row]:
    if isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
        return []
    try:
        async with pool.session() as session:
            return await session.fetch(step)
    except psycopg.Error as exc:
        if not is_lost(exc):
            raise
    async with pool.session() as session:
        return await session.fetch(step)


async def settle(session: Session, steps: Steps[None]) -> None:
    """Take the steps that make a session what our statements need."""
    try:
        step = next(steps)
        while True:
            assert isinstance(step, Statement)
            step = steps.send(await session.fetch(step))
    except StopIteration:
        return


class PsycopgSession:
    """One of psycopg's."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection

    async def fetch(self, statement: Statement) -> list[Row]:
        cursor = await self._connection.execute(statement.sql, statement.values, binary=True)
        return await cursor.fetchall() if cursor.description else []


class AsyncDatabasePool:
    """As ``DatabasePool``, for the tasks of the event loop in which it is first used.

    Args:
        purpose: shown in ``pg_stat_activity.application_name``.
        size: most connections at a time; further tasks wait for theirs.
        seconds: as of ``DatabasePool``.
    """

    def __init__(
        self,
        database: Database,
        purpose: str = APPLICATION,
        size: int = threads.SIZE,
        *,
        seconds: float = 0.0,
    ) -> None:
        self._database = database
        self._purpose = purpose
        self._size = size
        self._seconds = seconds
        self._closed = False
        self._opening = asyncio.Lock()
        self._pool: _Connections | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        pool = await self._opened()
        connection = await self._one_that_answers(pool)
        try:
            yield PsycopgSession(connection)
        finally:
            await pool.putconn(connection)

    async def _opened(self) -> _Connections:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ConfigurationError(
                "this client belongs to another event loop; make one in each loop"
            )
        async with self._opening:
            if self._pool is None:
                # What is missing is said as to whoever blocks, and in its words.
                await asyncio.to_thread(lambda: self._database.open(self._purpose).close())
                self._loop = loop
                self._pool = _Connections(
                    libpq_url(self._database.url),
                    kwargs={"autocommit": True, "application_name": self._purpose, **CONNECT},
                    min_size=0,
                    max_size=self._size,
                    configure=self._settle,
                    reconnect_timeout=threads.LOOK_SECONDS,
                    name=self._purpose,
                    open=False,
                )
                await self._pool.open()
            return self._pool

    async def _settle(self, connection: _Connection) -> None:
        facts = Facts.of(connection.info)
        steps = settling(facts, self._database.schema, statement_seconds=self._seconds)
        await settle(PsycopgSession(connection), steps)

    async def _one_that_answers(self, pool: _Connections) -> _Connection:
        patience = self._seconds or threads.PATIENCE_SECONDS
        deadline = time.monotonic() + patience
        while True:
            try:
                connection = await pool.getconn(min(threads.LOOK_SECONDS, patience))
            except psycopg_pool.PoolTimeout as exc:
                is_last = time.monotonic() > deadline
                why = await asyncio.to_thread(self._why_none, patience, is_last=is_last)
                if why is not None:
                    raise why from exc
                continue
            except psycopg_pool.PoolClosed as exc:
                raise closed() from exc
            try:
                await pool.check_connection(connection)
            except psycopg.Error:
                await pool.putconn(connection)
                await pool.check()  # the others that were cut with it go at once
                continue
            except BaseException:
                await pool.putconn(connection)
                raise
            return connection

    def _why_none(self, seconds: float, *, is_last: bool) -> DatabaseError | None:
        return why_none(self._database, self._purpose, self._size, seconds, is_last=is_last)

    async def close(self) -> None:
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
