"""Database URLs, taken apart so that no two programs read them differently."""

import re
from urllib.parse import quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import ConfigurationError
from pipeline.postgres.foreign_urls import check_options, plain_options, plain_place

# Every part in its place, and nothing that two programs take apart differently: a password with a
# bare @, /, ? or # would be read as host, port, database or option, and shown as one.
_URL = re.compile(
    r"(?P<scheme>postgres|postgresql|postgresql\+(?P<driver>\w+))://"
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
    if scheme and not re.match(r"(postgres|postgresql(\+\w+)?):", url):
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
    """The same database for psql and psycopg, in their words.

    Accepts what people have: postgres://, postgresql://, and what SQLAlchemy writes for any of its
    drivers, such as postgresql+psycopg:// and postgresql+asyncpg://.

    Raises:
        ConfigurationError: it is no URL, or not one of PostgreSQL, or has what is not PostgreSQL's.
    """
    parts = _take_apart(url)
    place = url[
        parts.end("scheme") + 3 : parts.end("path") if parts["path"] else parts.end("hosts")
    ]
    query = plain_options(parts["query"] or "", parts["driver"])
    plain = f"postgresql://{plain_place(place, parts['driver'])}{f'?{query}' if query else ''}"
    try:
        conninfo_to_dict(plain)
    except (psycopg.ProgrammingError, UnicodeError) as exc:  # its words may hold the password
        check_options(query)
        raise ConfigurationError(_UNREADABLE) from exc
    return plain


def shown_url(url: str) -> str:
    """The URL as it may appear in a log: without its passwords."""
    parts = _take_apart(libpq_url(url))
    user = "" if parts["user"] is None else f"{parts['user']}{':***' * bool(parts['password'])}@"
    pairs = (map(unquote, pair.split("=", 1)) for pair in (parts["query"] or "").split("&") if pair)
    query = [(key, "***" if _SECRET.search(key) else v) for key, v in pairs]
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
