"""How pages and tools read: in transactions that change nothing, and that end in time.

With the login's own rights, or with an analyst's at most. What a page writes, where that was
allowed, is with the login's own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.pool import Pool, run

T = TypeVar("T")

SECONDS = 15.0  # of one statement

_SETTING = sql.SQL("set_config(%s, %s, true)")

# Whoever may write becomes the analyst; whoever may not stays who it is, since policies of
# row-level security may be about that login.
_MAY_MORE = """
SELECT coalesce(
    pg_has_role(r.oid, CASE WHEN %(version)s >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    AND (has_table_privilege('source_items', 'INSERT, UPDATE, DELETE')
         OR has_table_privilege('multimodal_items', 'INSERT, UPDATE, DELETE')
         OR has_table_privilege('ingest_jobs', 'SELECT, UPDATE')), false)
FROM (SELECT to_regrole('pipeline_analyst')::oid AS oid) AS r
"""


class Reading:
    """The database for whoever only looks. Threads may share it.

    Args:
        pool: whose connections are used for a transaction at a time, and left as they were.
        lowers: whether a login that may write acts as the analyst.
    """

    def __init__(self, pool: Pool, *, lowers: bool = True) -> None:
        self._pool = pool
        self._becomes_analyst = None if lowers else False

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A transaction that may ask whoever serves, which leaves a question in the database."""
        with self.transaction({}) as connection:
            yield connection

    def read(self, work: Callable[[Connection], T], *, seconds: float = SECONDS) -> T:
        """``work(connection)`` in a transaction that only reads; once more if it is lost.

        Raises:
            psycopg.Error: what the server says; 57014 after so many seconds.
            DatabaseError: there is no connection.
        """
        timeout = f"{seconds * 1000:.0f}"
        settings = {"transaction_read_only": "on", "statement_timeout": timeout}
        return run(_With(self, settings), work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)`` in a transaction."""
        return run(self, work)

    def write_piecewise(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)`` outside a transaction: it makes its own."""
        with self._pool.connection() as connection:
            return work(connection)

    @contextlib.contextmanager
    def transaction(self, settings: Mapping[str, str]) -> Iterator[Connection]:
        """A transaction with these settings, and an analyst's rights where they are lowered."""
        with self._pool.connection() as connection, connection.transaction():
            if self._is_lowered(connection):
                settings = {**settings, "role": "pipeline_analyst"}
            if settings:  # in one statement: a page of images is a hundred transactions
                calls = sql.SQL(", ").join([_SETTING] * len(settings))
                values = list(chain.from_iterable(settings.items()))
                connection.execute(sql.SQL("SELECT {}").format(calls), values)
            yield connection

    def close(self) -> None:
        """The pool is its maker's."""

    def _is_lowered(self, connection: Connection) -> bool:
        if self._becomes_analyst is None:
            version = connection.info.server_version
            self._becomes_analyst = bool(
                fetch_one(connection.execute(_MAY_MORE, {"version": version}))[0]
            )
        return self._becomes_analyst


class _With:
    """The same database, each of whose transactions has some settings."""

    def __init__(self, reading: Reading, settings: Mapping[str, str]) -> None:
        self._reading = reading
        self._settings = settings

    def connection(self) -> contextlib.AbstractContextManager[Connection]:
        return self._reading.transaction(self._settings)

    def close(self) -> None:
        """The pool is its maker's."""
