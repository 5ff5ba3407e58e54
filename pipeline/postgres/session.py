"""What a connection of ours needs set, whatever the role's and the database's own settings say.

Read by psycopg and by our statements: the search path, and the form of what is sent and received.
Needed by our work, which takes as long as it takes: no timeout of a web application's role. What
they say of writing (``default_transaction_read_only``) stands: who froze a database meant us, too.

Set for the session where it is ours alone. Behind a pooler that shares its sessions nothing is set
that would reach the next client; there the role's own settings hold, and what would break is said.
"""

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from pipeline.errors import DatabaseError

# A transaction of ours that is idle for so long is one whose process hangs: not to hold up vacuum.
IDLE_IN_TRANSACTION = "10min"
NEEDED = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
}
# Names that older servers do not know, and since when they are known.
_SINCE = {"transaction_timeout": 170000}

# Every name in full: nothing is known yet of the role's search path. A pooler tells its clients
# another number of the backend than the backend itself does.
_LOOK = """
SELECT pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %s, pg_catalog.quote_ident(%s), (
    SELECT pg_catalog.quote_ident(n.nspname)
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
    WHERE e.extname OPERATOR(pg_catalog.=) 'vector')
"""
_SET = """
SELECT pg_catalog.set_config(s.name, s.value, %s)
FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]),
    pg_catalog.unnest(%s::pg_catalog.text[])) AS s (name, value)
"""
# Whether bare names lead to our tables and to pgvector's types; yes where there are none.
_FINDS = """
SELECT pg_catalog.to_regclass(%(table)s) IS NULL OR coalesce(
    pg_catalog.to_regclass('embedding_spaces') OPERATOR(pg_catalog.=)
        pg_catalog.to_regclass(%(table)s)
    AND pg_catalog.to_regtype('halfvec') OPERATOR(pg_catalog.=)
        pg_catalog.to_regtype(%(type)s), false)
"""

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class _Session:
    """What is found in a new one.

    Attributes:
        is_direct: whether it is ours alone, not one that a pooler shares among its clients.
        schema: that of our tables, quoted where it needs it; None: PostgreSQL's own alone.
        vector: pgvector's, likewise; None: it is not installed.
    """

    is_direct: bool
    schema: str | None
    vector: str | None

    @property
    def search_path(self) -> str:
        """Ours, where what is made goes; then pgvector's; no temporary table before either.

        Without ours PostgreSQL's own: nothing that the role's path names, or others may put there.
        """
        if self.schema is None:
            return "pg_catalog, pg_temp"
        return ", ".join(dict.fromkeys(filter(None, [self.schema, self.vector, "pg_temp"])))


def settle(connection: Connection, schema: str | None, *, keeps_path: bool = False) -> None:
    """Make a new session what our statements need.

    Args:
        schema: that of our tables; None: a database that need not have them, in which bare names
            are PostgreSQL's own.
        keeps_path: whether bare names are what they are for the role instead.

    Raises:
        DatabaseError: the database has no encoding, or a pooler keeps us from what we need.
    """
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise DatabaseError(
            f"the database {connection.info.dbname} is SQL_ASCII: it holds bytes of no known "
            "encoding, so what a text says is anybody's guess; use a database made with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    session = _look(connection, schema)
    if session.is_direct:
        _set(connection, session, local=False, but={"search_path"} if keeps_path else ())
        return
    if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
        # One of the settings that poolers keep apart by client.
        connection.execute("SET DateStyle = 'ISO'")
    if not _finds_ours(connection, session):
        user = connection.info.user
        raise DatabaseError(
            f"by way of a pooler the role {user} does not find the schemas of the pipeline and "
            f"of pgvector; connect directly, or once: ALTER ROLE {user} SET search_path = "
            f"{session.search_path}"
        )


def settle_transaction(connection: Connection, schema: str | None) -> None:
    """The same until the end of the transaction that is open, by way of a pooler as well.

    But for ``lock_timeout``: a migration that waits for a table keeps the application from it.
    """
    _set(connection, _look(connection, schema), local=True, but={"lock_timeout"})
    # What could not be done is told by warnings.
    connection.execute("SET LOCAL client_min_messages = warning")


def settle_borrowed(connection: Connection, schema: str) -> None:
    """The same for a transaction on the application's own connection, whose timeouts stand."""
    timeouts = {name for name in NEEDED if name.endswith("_timeout")}
    _set(connection, _look(connection, schema), local=True, but=timeouts)


def is_direct(connection: Connection) -> bool:
    """Whether the session is ours alone, not one that a pooler shares among its clients."""
    return _look(connection, None).is_direct


def takes_no_writes(connection: Connection) -> bool:
    """Whether this is a standby, or its role's or database's transactions only read by default."""
    said = map(
        connection.info.parameter_status, ("in_hot_standby", "default_transaction_read_only")
    )
    return "on" in said


def is_unicode(connection: Connection) -> bool:
    """Whether the database holds every text that Python does."""
    return connection.info.parameter_status("server_encoding") == "UTF8"


def held(connection: Connection, text: str) -> str:
    """A text of ours as the database can hold it: in ASCII where its encoding is not UTF-8."""
    if is_unicode(connection):
        return text
    return text.encode("ascii", "backslashreplace").decode()


def _look(connection: Connection, schema: str | None) -> _Session:
    row = connection.execute(_LOOK, (connection.info.backend_pid, schema)).fetchone()
    assert row is not None
    return _Session(*row)


def _set(
    connection: Connection, session: _Session, *, local: bool, but: Collection[str] = ()
) -> None:
    version = connection.info.server_version
    needed = {
        name: value
        for name, value in NEEDED.items()
        if version >= _SINCE.get(name, 0) and name not in but
    }
    if "search_path" not in but:
        needed["search_path"] = session.search_path
    connection.execute(_SET, (local, list(needed), list(needed.values())))


def _finds_ours(connection: Connection, session: _Session) -> bool:
    if session.schema is None or session.vector is None:
        return True
    row = connection.execute(
        _FINDS,
        {"table": f"{session.schema}.embedding_spaces", "type": f"{session.vector}.halfvec"},
    ).fetchone()
    return bool(row and row[0])
