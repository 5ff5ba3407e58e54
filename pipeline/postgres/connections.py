"""Connections to the database and the checks that come before them.

Plain psycopg, since the worker's statements are few, hot and binary. The other door to the same
database, SQLAlchemy's engines for applications and migrations, is in ``engines.py``: it takes half
a second to import, which a run with nothing to do must not pay for.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

# 0.8.4 is the first whose HNSW vacuum is right after a crash; the extension says so itself.
LEAST_PGVECTOR = (0, 8, 4)
LEAST_POSTGRES = 150000
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


def resolve_url(settings: Settings, *, start: bool = True) -> str:
    """The database's URL: the configured one, else the embedded server's (started if needed)."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = EmbeddedServer(settings.home)
    return server.start() if start else server.url()


# Every part in its place, and nothing that two programs take apart differently: a password with a
# bare @, /, ? or # would be read as host, port, database or option, and shown as one.
_URL = re.compile(
    r"(?P<scheme>postgres|postgresql|postgresql\+psycopg)://"
    r"(?:(?P<user>[^:@/?#]*)(?P<password>:[^@/?#]*)?@)?"
    r"(?P<hosts>[^@/?#]*)(?P<path>/[^@?#]*)?(?:\?(?P<query>[^@?#]*))?"
)
_UNREADABLE = (
    "the database URL cannot be read; it looks like postgresql://user:password@host:5432/database, "
    "where @ / ? and # in user and password are percent-encoded (@ as %40)"
)
_SECRET = re.compile("password|secret|scram_.*_key")


def _take_apart(url: str) -> re.Match[str]:
    """The parts of a database URL. No message shows any of a URL that is not understood.

    Raises:
        ConfigurationError: it is no URL, or not one of PostgreSQL.
    """
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", url)
    if scheme and not re.match(r"postgres(ql)?(\+psycopg)?:", url):
        raise ConfigurationError(
            f"the database URL is of {scheme[1]!r}; "
            "only PostgreSQL works: postgresql://user:password@host:5432/database"
        )
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ConfigurationError(_UNREADABLE)
    for host in parts["hosts"].split(","):
        port = re.sub(r"^\[[^]]*]", "", host).partition(":")[2]
        if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigurationError(
                "the port in the database URL is no number from 1 to 65535; it looks like "
                "postgresql://user:password@host:5432/database"
            )
    return parts


def libpq_url(url: str) -> str:
    """The same database for psql and psycopg: their scheme, the rest as it was written.

    Accepts what people have: postgres://, postgresql://, postgresql+psycopg://.

    Raises:
        ConfigurationError: it is no URL, or not one of PostgreSQL.
    """
    plain = f"postgresql://{url[_take_apart(url).end('scheme') + 3 :]}"
    try:
        conninfo_to_dict(plain)
    except (psycopg.ProgrammingError, UnicodeError) as exc:  # its words may hold the password
        raise ConfigurationError(_UNREADABLE) from exc
    return plain


def shown_url(url: str) -> str:
    """The URL as it may appear in a log: without its passwords."""
    parts = _take_apart(libpq_url(url))
    user = "" if parts["user"] is None else f"{parts['user']}{':***' * bool(parts['password'])}@"
    query = [(key, "***" if _SECRET.search(key) else v) for key, v in parse_qsl(parts["query"])]
    options = f"?{urlencode(query, safe='/*', quote_via=quote)}" if query else ""
    return f"postgresql://{user}{parts['hosts']}{parts['path'] or ''}{options}"


def without_password(url: str) -> tuple[str, str | None]:
    """The URL for a command line, which every user can read, and the password that was in it."""
    plain = libpq_url(url)
    parts = _take_apart(plain)
    user = "" if parts["user"] is None else f"{parts['user']}@"
    options = [o for o in (parts["query"] or "").split("&") if o and not o.startswith("password=")]
    query = f"?{'&'.join(options)}" if options else ""
    password = conninfo_to_dict(plain).get("password")
    shown = f"postgresql://{user}{parts['hosts']}{parts['path'] or ''}{query}"
    return shown, None if password is None else str(password)


def connect(url: str, *, autocommit: bool = True, role: str = APPLICATION) -> Connection:
    """A psycopg connection.

    Args:
        url: any form that people write.
        autocommit: whether every statement is its own transaction; use ``conn.transaction()``
            for more. The default keeps no transaction open between statements.
        role: shown in ``pg_stat_activity.application_name``.

    Raises:
        DatabaseError: one line that names the reason and what to do.
    """
    try:
        return psycopg.connect(
            libpq_url(url),
            autocommit=autocommit,
            application_name=role,
            prepare_threshold=None,  # prepared statements do not survive PgBouncer
            **KEEPALIVE,
        )
    except (psycopg.Error, UnicodeError) as exc:  # a host name may be none that IDNA encodes
        raise DatabaseError(explain_connection_failure(url, exc)) from exc


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
    return f"cannot connect to {where}: {reason[:300]}"


def explain(exc: psycopg.Error) -> str:
    """What the server (or else the driver) says, with its hint, in one line."""
    said = exc.diag.message_primary or " ".join(str(exc).split()) or type(exc).__name__
    hint = exc.diag.message_hint
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


def check_server(connection: Connection) -> None:
    """Refuse a server that lacks pgvector or has a version known to lose rows.

    Raises:
        DatabaseError: naming the version found, the least one and how to get it.
    """
    if connection.info.server_version < LEAST_POSTGRES:
        raise DatabaseError(
            f"PostgreSQL {connection.info.server_version // 10000} is too old; "
            f"{LEAST_POSTGRES // 10000} or newer is needed"
        )
    row = connection.execute(
        """
        SELECT default_version, installed_version
        FROM pg_available_extensions WHERE name = 'vector'
        """
    ).fetchone()
    least = ".".join(map(str, LEAST_PGVECTOR))
    if row is None:
        raise DatabaseError(
            f"this PostgreSQL server has no pgvector; install the package of version {least} or "
            "newer on the server (such as postgresql-18-pgvector) and try again"
        )
    available, installed = row
    if _version(installed or available) < LEAST_PGVECTOR:
        cure = (
            "run ALTER EXTENSION vector UPDATE"
            if _version(available) >= LEAST_PGVECTOR
            else "install a newer package on the server, then run ALTER EXTENSION vector UPDATE"
        )
        raise DatabaseError(
            f"pgvector {installed or available} is too old, {least} or newer is needed; {cure}"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def is_migrated(connection: Connection) -> bool:
    """Whether our tables are there."""
    row = connection.execute("SELECT to_regclass('embedding_spaces') IS NOT NULL").fetchone()
    return bool(row and row[0])


def open_database(settings: Settings, *, role: str = APPLICATION) -> Connection:
    """The connection a command works on: reachable, with pgvector, migrated.

    Raises:
        DatabaseError: with the next step in its text.
    """
    connection = connect(resolve_url(settings), role=role)
    try:
        if not is_migrated(connection):
            check_server(connection)
            raise DatabaseError("the database has no tables of ours yet; run `pipeline migrate`")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def advisory_lock(connection: Connection, key: int) -> Iterator[None]:
    """Hold the session-level advisory lock of that number, waiting for it."""
    connection.execute("SELECT pg_advisory_lock(%s)", (key,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


@contextlib.contextmanager
def short_lock_timeout(connection: Connection, milliseconds: int) -> Iterator[None]:
    """A transaction whose DDL gives up rather than queue behind a long query."""
    with connection.transaction():
        connection.execute(
            sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{milliseconds}ms"))
        )
        yield


def host_of(url: str) -> str:
    """The host part, for messages."""
    return str(conninfo_to_dict(libpq_url(url)).get("host", ""))
