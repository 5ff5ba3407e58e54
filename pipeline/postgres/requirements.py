"""What a server must have: a PostgreSQL and a pgvector that lose no rows."""

from collections.abc import Sequence

from psycopg import sql

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


def open_schemas(connection: Connection, schemas: Sequence[str]) -> list[str]:
    """Those of the schemas in which PUBLIC may create: what every login could put there would be
    taken for PostgreSQL's own by whoever searches them, superusers included."""
    rows = connection.execute(
        """
        SELECT n.nspname FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
        WHERE n.nspname = ANY (%s) AND a.grantee = 0 AND a.privilege_type = 'CREATE'
        ORDER BY 1
        """,
        (list(schemas),),
    ).fetchall()
    return [name for (name,) in rows]


def cure_of_open_schemas(connection: Connection, schemas: Sequence[str]) -> str:
    """The statement that closes them, for their owner."""
    names = sql.SQL(", ").join(map(sql.Identifier, schemas))
    return sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC").format(names).as_string(connection)


def check_schemas(connection: Connection, schemas: Sequence[str]) -> None:
    """Refuse to work in a schema in which every login may create functions.

    Raises:
        DatabaseError: with the statement that mends it.
    """
    if found := open_schemas(connection, schemas):
        raise DatabaseError(
            f"every login may create functions in the schema {', '.join(found)}, which would "
            "be called with the rights of whoever runs the pipeline (databases from before "
            f"PostgreSQL 15 are so); its owner runs: {cure_of_open_schemas(connection, found)}; "
            "and GRANT CREATE to those roles that need it"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
