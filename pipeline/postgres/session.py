"""What a connection of ours needs set, whatever the role's and the database's own settings say.

Read by psycopg and by our statements: the search path, and the form of what is sent and received.
Needed by our work, which takes as long as it takes: no timeout of a web application's role. What
they say of writing (``default_transaction_read_only``) stands: who froze a database meant us, too.

Set for the session where it is ours alone. Behind a pooler that shares its sessions nothing is set
that would reach the next client; there the role's own settings hold, and what would break is said.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from pipeline.errors import DatabaseError
from pipeline.postgres.steps import Statement, Steps, on

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
SELECT pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %(pid)s::pg_catalog.int4,
    pg_catalog.quote_ident(%(schema)s::pg_catalog.text), (
    SELECT pg_catalog.quote_ident(n.nspname)
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
    WHERE e.extname OPERATOR(pg_catalog.=) 'vector')
"""
_SET = """
SELECT pg_catalog.set_config(s.name, s.value, %(local)s::pg_catalog.bool)
FROM ROWS FROM (pg_catalog.unnest(%(names)s::pg_catalog.text[]),
    pg_catalog.unnest(%(values)s::pg_catalog.text[])) AS s (name, value)
"""
# Whether bare names lead to our tables and to pgvector's types; yes where there are none.
_FINDS = """
SELECT pg_catalog.to_regclass(%(table)s::pg_catalog.text) IS NULL OR coalesce(
    pg_catalog.to_regclass('embedding_spaces') OPERATOR(pg_catalog.=)
        pg_catalog.to_regclass(%(table)s::pg_catalog.text)
    AND pg_catalog.to_regtype('halfvec') OPERATOR(pg_catalog.=)
        pg_catalog.to_regtype(%(type)s::pg_catalog.text), false)
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


@dataclass(frozen=True, slots=True)
class Facts:
    """What a driver knows of its connection.

    Attributes:
        pid: of the backend, as a pooler tells it.
        version: of the server, as 180006.
    """

    pid: int
    version: int
    database: str
    user: str
    encoding: str | None = None
    date_style: str | None = None

    @classmethod
    def of(cls, info: psycopg.ConnectionInfo) -> "Facts":
        return cls(
            info.backend_pid,
            info.server_version,
            info.dbname,
            info.user,
            info.parameter_status("server_encoding"),
            info.parameter_status("DateStyle"),
        )


def settle(
    connection: Connection,
    schema: str | None,
    *,
    keeps_path: bool = False,
    statement_seconds: float = 0.0,
) -> None:
    """Make a new session what our statements need.

    Args:
        schema: that of our tables; None: a database that need not have them, in which bare names
            are PostgreSQL's own.
        keeps_path: whether bare names are what they are for the role instead.
        statement_seconds: that a statement may take, where the session is ours alone; 0: any time.

    Raises:
        DatabaseError: the database has no encoding, or a pooler keeps us from what we need.
    """
    facts = Facts.of(connection.info)
    on(
        connection,
        settling(facts, schema, keeps_path=keeps_path, statement_seconds=statement_seconds),
    )


def settling(
    facts: Facts,
    schema: str | None,
    *,
    keeps_path: bool = False,
    statement_seconds: float = 0.0,
) -> Steps[None]:
    """The steps of :func:`settle`."""
    if facts.encoding == "SQL_ASCII":
        raise DatabaseError(
            f"the database {facts.database} is SQL_ASCII: it holds bytes of no known "
            "encoding, so what a text says is anybody's guess; use a database made with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    session = yield from _look(facts, schema)
    if session.is_direct:
        but = {"search_path"} if keeps_path else set()
        timeout = {"statement_timeout": f"{round(statement_seconds * 1000)}ms"}
        yield from _set(facts, session, local=False, but=but, others=timeout)
        return
    if not (facts.date_style or "").startswith("ISO"):
        # One of the settings that poolers keep apart by client.
        yield Statement("SET DateStyle = 'ISO'")
    if not (yield from _finds_ours(session)):
        raise DatabaseError(
            f"by way of a pooler the role {facts.user} does not find the schemas of the pipeline "
            "and of pgvector; connect directly, or once: "
            f"ALTER ROLE {facts.user} SET search_path = {session.search_path}"
        )


def settle_transaction(connection: Connection, schema: str | None) -> None:
    """The same until the end of the transaction that is open, by way of a pooler as well.

    But for ``lock_timeout``: a migration that waits for a table keeps the application from it.
    """
    facts = Facts.of(connection.info)
    session = on(connection, _look(facts, schema))
    on(connection, _set(facts, session, local=True, but={"lock_timeout"}))
    # What could not be done is told by warnings.
    connection.execute("SET LOCAL client_min_messages = warning")


def settling_borrowed(facts: Facts, schema: str) -> Steps[None]:
    """The same for a transaction on the application's own connection, whose timeouts stand."""
    timeouts = {name for name in NEEDED if name.endswith("_timeout")}
    session = yield from _look(facts, schema)
    yield from _set(facts, session, local=True, but=timeouts)


def is_direct(connection: Connection) -> bool:
    """Whether the session is ours alone, not one that a pooler shares among its clients."""
    return on(connection, _look(Facts.of(connection.info), None)).is_direct


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


def _look(facts: Facts, schema: str | None) -> Steps[_Session]:
    rows = yield Statement(_LOOK, {"pid": facts.pid, "schema": schema})
    return _Session(*rows[0])


def _set(
    facts: Facts,
    session: _Session,
    *,
    local: bool,
    but: Collection[str] = (),
    others: Mapping[str, str] | None = None,
) -> Steps[None]:
    needed = {
        name: value
        for name, value in {**NEEDED, **(others or {})}.items()
        if facts.version >= _SINCE.get(name, 0) and name not in but
    }
    if "search_path" not in but:
        needed["search_path"] = session.search_path
    yield Statement(_SET, {"local": local, "names": list(needed), "values": list(needed.values())})


def _finds_ours(session: _Session) -> Steps[bool]:
    if session.schema is None or session.vector is None:
        return True
    names = {"table": f"{session.schema}.embedding_spaces", "type": f"{session.vector}.halfvec"}
    rows = yield Statement(_FINDS, names)
    return bool(rows and rows[0][0])
