"""The application's own ``AsyncEngine`` as a pool: ``engine_pool.py`` for whoever awaits.

What the engine's driver is does not matter: psycopg's connection or asyncpg's is used as it is,
within the transaction that SQLAlchemy has begun, so that its events and its settings hold.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection as Borrowed
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.async_pool import PsycopgSession, Session, settle
from pipeline.postgres.connections import explain_connection_failure
from pipeline.postgres.pool import closed
from pipeline.postgres.session import Facts, settling_borrowed
from pipeline.postgres.steps import Row, Statement

_DRIVERS = ("postgresql+psycopg", "postgresql+asyncpg")
_PARAMETER = re.compile(r"%\((\w+)\)[sb]")


class AsyncEnginePool:
    """Each work is a transaction of its own, and nothing is set that outlives it.

    Args:
        engine: it stays the application's, open when this is closed.
        schema: that of our tables.

    Raises:
        ConfigurationError: it is no such engine.
    """

    def __init__(self, engine: AsyncEngine, schema: str) -> None:
        dialect = getattr(engine, "dialect", None)
        kind = f"{getattr(dialect, 'name', '?')}+{getattr(dialect, 'driver', '?')}"
        self._is_asyncpg = kind == "postgresql+asyncpg"
        kind = kind.removesuffix("_async")
        if not isinstance(engine, AsyncEngine) or kind not in _DRIVERS:
            raise ConfigurationError(
                f"an AsyncClient works through an AsyncEngine of {' or '.join(_DRIVERS)}, not "
                f"through {type(engine).__name__} of {kind}; make one with "
                "sqlalchemy.ext.asyncio.create_async_engine('postgresql+psycopg://...'), or give "
                "the database's URL"
            )
        self._engine = engine
        self._schema = schema
        self._closed = False

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        if self._closed:
            raise closed()
        async with contextlib.AsyncExitStack() as returning:
            borrowed = await self._one_that_answers()
            returning.push_async_callback(borrowed.close)
            connection: Any = (await borrowed.get_raw_connection()).driver_connection
            with _errors_of_psycopg():
                async with connection.transaction():
                    session, facts = self._of_driver(connection)
                    await settle(session, settling_borrowed(facts, self._schema))
                    yield session
            await borrowed.commit()

    def _of_driver(self, connection: Any) -> tuple[Session, Facts]:
        if not self._is_asyncpg:
            return PsycopgSession(connection), Facts.of(connection.info)
        version = connection.get_server_version()
        number = version.major * 10_000 + version.minor
        return AsyncpgSession(connection), Facts(connection.get_server_pid(), number, "", "")

    async def _one_that_answers(self) -> Borrowed:
        try:
            return await self._asked()
        except (DBAPIError, OSError) as exc:
            if not getattr(exc, "connection_invalidated", False):
                raise self._failure(exc) from exc
        # SQLAlchemy has let go of all its connections that are as old.
        try:
            return await self._asked()
        except (DBAPIError, OSError) as exc:
            raise self._failure(exc) from exc

    async def _asked(self) -> Borrowed:
        # As our statements need it, whatever the engine's default, see ``engine_pool.py``.
        borrowed = await self._engine.connect()
        try:
            await borrowed.execution_options(isolation_level="READ COMMITTED")
            await borrowed.exec_driver_sql("SELECT 1")
        except BaseException:
            await borrowed.close()
            raise
        return borrowed

    def _failure(self, exc: DBAPIError | OSError) -> DatabaseError:
        url = self._engine.url.render_as_string(hide_password=False)
        return DatabaseError(explain_connection_failure(url, getattr(exc, "orig", None) or exc))

    async def close(self) -> None:
        self._closed = True


class AsyncpgSession:
    """One of asyncpg's, whose errors become psycopg's: nobody else has to know two kinds."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, statement: Statement) -> list[Row]:
        sql, names = _numbered(statement.sql)
        with _errors_of_psycopg():
            rows = await self._connection.fetch(sql, *(statement.values[name] for name in names))
        return [tuple(row) for row in rows]


@lru_cache(maxsize=256)
def _numbered(sql: str) -> tuple[str, list[str]]:
    """The statement with ``$1`` for ``%(name)s``, and the names in the order of the numbers."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    plain = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
    return plain.replace("%%", "%"), names


@contextlib.contextmanager
def _errors_of_psycopg() -> Iterator[None]:
    """What asyncpg raises within, as psycopg's error of the same SQLSTATE."""
    try:
        yield
    except Exception as exc:
        is_asyncpg = type(exc).__module__.partition(".")[0] == "asyncpg"
        if not is_asyncpg and not isinstance(exc, OSError):
            raise
        code = getattr(exc, "sqlstate", None)
        if code is None:  # the connection is gone
            raise psycopg.OperationalError(str(exc)) from exc
        try:
            kind: type[psycopg.Error] = psycopg.errors.lookup(code)
        except KeyError:  # one of ours
            kind = psycopg.DatabaseError
        hint = getattr(exc, "hint", None)
        said = str(getattr(exc, "message", None) or exc)
        error = kind(f"{said}; {hint.rstrip('.')}" if hint else said)
        error.sqlstate = code
        raise error from exc
