"""How the pages read: in transactions that change nothing, with an analyst's rights at most.

What they write, where that was allowed, is with the login's own rights.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.pool import Pool, run

T = TypeVar("T")

SECONDS = 15.0  # of one statement

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
    """The database for the pages. Threads may share it.

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
        with self._pool.connection() as connection, connection.transaction():
            self._lower(connection)
            yield connection

    def read(self, work: Callable[[Connection], T], *, seconds: float = SECONDS) -> T:
        """``work(connection)`` in a transaction that only reads; once more if it is lost.

        Raises:
            psycopg.Error: what the server says; 57014 after so many seconds.
            DatabaseError: there is no connection.
        """

        def within(connection: Connection) -> T:
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(
                "SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}",)
            )
            return work(connection)

        return run(self, within)

    def write(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)`` in a transaction."""
        return run(self, work)

    def write_piecewise(self, work: Callable[[Connection], T]) -> T:
        """``work(connection)`` outside a transaction: it makes its own."""
        with self._pool.connection() as connection:
            return work(connection)

    def close(self) -> None:
        """The pool is its maker's."""

    def _lower(self, connection: Connection) -> None:
        if self._becomes_analyst is None:
            version = connection.info.server_version
            self._becomes_analyst = bool(
                fetch_one(connection.execute(_MAY_MORE, {"version": version}))[0]
            )
        if self._becomes_analyst:
            connection.execute("SET LOCAL ROLE pipeline_analyst")
