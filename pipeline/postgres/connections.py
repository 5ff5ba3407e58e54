"""Connections to the database, and what the server and the driver say in one line.

Plain psycopg, since the worker's statements are few, hot and binary. The other door to the same
database, SQLAlchemy's engines for applications and migrations, is in ``engines.py``: it takes half
a second to import, which a run with nothing to do must not pay for.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.faults import is_misconfigured
from pipeline.postgres.session import settle
from pipeline.postgres.urls import libpq_url, shown_url
from pipeline.settings import DEFAULT_SCHEMA

Row = TypeVar("Row")

APPLICATION = "pipeline"

Connection = psycopg.Connection[TupleRow]

# A dead peer is noticed within about 30 s instead of the kernel's two hours.
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Of each connection of ours.
CONNECT: dict[str, Any] = {
    "client_encoding": "UTF8",
    "prepare_threshold": None,  # prepared statements do not survive PgBouncer
    **KEEPALIVE,
}


def connect(
    url: str,
    *,
    schema: str | None = DEFAULT_SCHEMA,
    autocommit: bool = True,
    role: str = APPLICATION,
    keeps_path: bool = False,
) -> Connection:
    """A psycopg connection, with the settings that our statements need; see ``session.py``.

    Args:
        url: any form that people write.
        schema: that of our tables; None: a database that need not have them, in which bare names
            are PostgreSQL's own.
        autocommit: whether every statement is its own transaction; use ``conn.transaction()``
            for more. The default keeps no transaction open between statements.
        role: shown in ``pg_stat_activity.application_name``.
        keeps_path: for a table that somebody names: found as that login finds it.

    Raises:
        ConfigurationError: the URL cannot be read, or libpq refuses an option in it.
        DatabaseError: one line that names the reason and what to do.
    """
    with contextlib.ExitStack() as on_failure:
        try:
            connection = psycopg.connect(
                libpq_url(url),
                autocommit=True,
                application_name=role,
                **CONNECT,
            )
            on_failure.callback(connection.close)
            settle(connection, schema, keeps_path=keeps_path)
        except (psycopg.Error, UnicodeError) as exc:  # a host name may be none that IDNA encodes
            kind = ConfigurationError if is_misconfigured(exc) else DatabaseError
            raise kind(explain_connection_failure(url, exc)) from exc
        connection.autocommit = autocommit
        on_failure.pop_all()
        return connection


def explain_connection_failure(url: str, exc: Exception) -> str:
    """Turn the driver's words into one line that says what to do, without the password."""
    reason = " ".join(str(exc).split())
    where = shown_url(url)
    lowered = reason.lower()
    if "password authentication failed" in lowered or "no password supplied" in lowered:
        return f"{where} refuses these credentials; check user and password in DATABASE_URL"
    if "role" in lowered and "does not exist" in lowered:
        return f"{where}: the user does not exist there; check the user in DATABASE_URL"
    if "database" in lowered and "does not exist" in lowered:
        return f"{where}: the database does not exist; create it with createdb"
    if "no such file" in lowered and "socket" in lowered:
        return f"{where}: no server listens on that socket; start it with `pipeline db start`"
    if any(
        word in lowered
        for word in ("refused", "timeout", "timed out", "resolve", "unreachable", "not known")
    ):
        return f"no PostgreSQL answers at {where}; check host and port, or start the server"
    if "for function set_config" in lowered:
        grant = "GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean)"
        return (
            f"{where}: {reason[:300]}; {grant} TO the role, since every connection of ours uses it"
        )
    return f"cannot connect to {where}: {reason[:300]}"


def explain(exc: psycopg.Error) -> str:
    """What the server (or else the driver) says, with its hint, in one line."""
    said = exc.diag.message_primary or " ".join(str(exc).split()) or type(exc).__name__
    hint = exc.diag.message_hint
    if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
        hint = (
            "what writes needs the primary server, and a role and a database without "
            "default_transaction_read_only"
        )
    return f"{said}; {hint.rstrip('.')}" if hint else said


@contextlib.contextmanager
def errors_of_ours() -> Iterator[None]:
    """What psycopg raises within, as errors of ``pipeline.errors``.

    Raises:
        ConfigurationError: the server refuses an argument (no such item, say).
        DatabaseError: anything else.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.errors.NoDataFound) as exc:
        raise ConfigurationError(explain(exc)) from exc
    except psycopg.Error as exc:
        raise DatabaseError(explain(exc)) from exc


def fetch_one(cursor: psycopg.Cursor[Row]) -> Row:
    """The row of a statement that always gives one, such as an aggregate.

    Raises:
        DatabaseError: it gave none, so the statement is not what it was taken for.
    """
    row = cursor.fetchone()
    if row is None:
        raise DatabaseError("a statement gave no row where there is always one; report it")
    return row


@contextlib.contextmanager
def short_lock_timeout(connection: Connection, milliseconds: int) -> Iterator[None]:
    """A transaction whose DDL gives up rather than queue behind a long query."""
    with connection.transaction():
        connection.execute(
            sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{milliseconds}ms"))
        )
        yield
