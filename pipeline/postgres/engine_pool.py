"""The application's own engine as a pool: what searches borrows a connection for a transaction."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy import Connection as Borrowed
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import Connection, explain_connection_failure
from pipeline.postgres.pool import closed
from pipeline.postgres.session import Facts, settling_borrowed
from pipeline.postgres.steps import on


class EnginePool:
    """Each work is a transaction of its own, and nothing is set that outlives it: the application
    finds its connections as they were.

    Args:
        engine: on psycopg 3; it stays the application's, open when this is closed.
        schema: that of our tables.

    Raises:
        ConfigurationError: the engine has another driver.
    """

    def __init__(self, engine: Engine, schema: str) -> None:
        dialect = getattr(engine, "dialect", None)
        kind = f"{getattr(dialect, 'name', '?')}+{getattr(dialect, 'driver', '?')}"
        if not isinstance(engine, Engine) or kind != "postgresql+psycopg":
            raise ConfigurationError(
                f"an index searches through an Engine of postgresql+psycopg, not through "
                f"{type(engine).__name__} of {kind}; make one with "
                "sqlalchemy.create_engine('postgresql+psycopg://...'), or give DATABASE_URL"
            )
        self._engine = engine
        self._schema = schema
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        if self._closed:
            raise closed()
        with self._one_that_answers() as borrowed:
            connection = borrowed.connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with connection.transaction():
                on(connection, settling_borrowed(Facts.of(connection.info), self._schema))
                yield connection
            borrowed.commit()

    def _one_that_answers(self) -> Borrowed:
        try:
            return self._asked()
        except DBAPIError as exc:
            if not exc.connection_invalidated:
                raise self._failure(exc) from exc
        # SQLAlchemy has let go of all its connections that are as old.
        try:
            return self._asked()
        except DBAPIError as exc:
            raise self._failure(exc) from exc

    def _asked(self) -> Borrowed:
        # As our statements need it, whatever the engine's default: who writes the same text at the
        # same time is no conflict. SQLAlchemy sets it back when the connection is returned.
        borrowed = self._engine.connect().execution_options(isolation_level="READ COMMITTED")
        try:
            borrowed.exec_driver_sql("SELECT 1")
        except BaseException:
            borrowed.close()
            raise
        return borrowed

    def _failure(self, exc: DBAPIError) -> DatabaseError:
        url = self._engine.url.render_as_string(hide_password=False)
        return DatabaseError(explain_connection_failure(url, exc.orig or exc))

    def close(self) -> None:
        self._closed = True
