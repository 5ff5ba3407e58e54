"""Database URLs as other programs write them, in libpq's words.

SQLAlchemy names its driver in the scheme, leaves a space in user and password as it is, writes one
in an option as ``+`` (which libpq takes for a plus), and several hosts as ``host=a:1&host=b:2``.
"""

import re
from urllib.parse import parse_qsl, quote, urlencode

from pipeline.errors import ConfigurationError

# Options that people have in their URLs and libpq does not know, by whose they are.
_OPTIONS_OF = {
    "SQLAlchemy's asyncpg": (
        "async_fallback", "command_timeout", "prepared_statement_cache_size",
        "prepared_statement_name_func", "server_settings", "statement_cache_size",
    ),
    "Prisma's": ("connection_limit", "pgbouncer", "pool_timeout", "schema"),
    "JDBC's": ("currentSchema", "prepareThreshold", "reWriteBatchedInserts"),
}  # fmt: skip
# No option of a server begins so, with a plus as it is.
_BLANK_AS_PLUS = re.compile(r"(?<=&options=)(-c\+[^&]*)")


def plain_place(place: str, driver: str | None) -> str:
    """User, password, hosts and database; ``driver`` as for :func:`plain_options`."""
    return place if driver is None else place.replace(" ", "%20")


def plain_options(query: str, driver: str | None) -> str:
    """The part after the question mark.

    Args:
        driver: of SQLAlchemy, where the scheme named one.
    """
    if driver is None:
        return _BLANK_AS_PLUS.sub(lambda match: match[1].replace("+", "%20"), f"&{query}")[1:]
    pairs = parse_qsl(query, keep_blank_values=True)
    if driver == "asyncpg":
        pairs = [("sslmode" if key == "ssl" else key, value) for key, value in pairs]
    hosts = [value for key, value in pairs if key == "host"]
    if len(hosts) > 1 or (hosts and re.fullmatch(r"[^/]+:\d*", hosts[0])):
        pairs = [pair for pair in pairs if pair[0] not in {"host", "port"}]
        split = [host.partition(":") for host in hosts]
        pairs += [("host", ",".join(host for host, _, _ in split))]
        pairs += [("port", ",".join(port for _, _, port in split))]
    return urlencode(pairs, safe="/,", quote_via=quote)


def check_options(query: str) -> None:
    """Name an option that is another program's; nothing else of the URL is shown.

    Raises:
        ConfigurationError: there is one.
    """
    for key, _ in parse_qsl(query, keep_blank_values=True):
        for owner, names in _OPTIONS_OF.items():
            if key in names:
                raise ConfigurationError(
                    f"the option {key} in the database URL is {owner}, not PostgreSQL's; leave it "
                    "out: postgresql://user:password@host:5432/database"
                )
