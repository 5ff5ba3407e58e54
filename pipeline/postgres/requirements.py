"""What a server must have: a PostgreSQL and a pgvector that lose no rows."""

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection

# 0.8.4 is the first whose HNSW vacuum is right after a crash; the extension says so itself.
LEAST_PGVECTOR = (0, 8, 4)
LEAST_POSTGRES = 150000


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
