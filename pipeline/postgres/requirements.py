"""What a server must have: a PostgreSQL and a pgvector that lose no rows."""

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one

# 0.8.4 is the first whose HNSW vacuum is right after a crash; the extension says so itself.
LEAST_PGVECTOR = (0, 8, 4)
# What distributions ship: has all that we use, and those faults; by choice only.
OLDEST_PGVECTOR = (0, 8, 0)
# Before it a parallel build of an HNSW index may overrun its memory (CVE-2026-3172).
SAFE_PARALLEL_BUILD = (0, 8, 2)
LEAST_POSTGRES = 150000


def check_server(connection: Connection, *, old_pgvector: bool = False) -> None:
    """Refuse a server that lacks pgvector or has a version known to lose rows.

    Args:
        old_pgvector: whether one that loses rows will do, see the setting of that name.

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
    found = _version(installed or available)
    if found < (OLDEST_PGVECTOR if old_pgvector else LEAST_PGVECTOR):
        choice = "; or set PIPELINE_OLD_PGVECTOR=on and live with rows that go missing"
        raise DatabaseError(
            f"pgvector {installed or available} is too old, {least} or newer is needed; "
            f"{_update(available)}{choice if found >= OLDEST_PGVECTOR else ''}"
        )


def lossy_pgvector(connection: Connection) -> tuple[str, str] | None:
    """The version that is installed and what to do about it, where it is one that loses rows."""
    row = connection.execute(
        """
        SELECT default_version, installed_version
        FROM pg_available_extensions WHERE name = 'vector'
        """
    ).fetchone()
    if row is None or row[1] is None or _version(row[1]) >= LEAST_PGVECTOR:
        return None
    return row[1], _update(row[0])


def has_safe_parallel_build(connection: Connection) -> bool:
    """Whether several processes may build one HNSW index."""
    (version,) = fetch_one(
        connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    )
    return _version(version) >= SAFE_PARALLEL_BUILD


def _update(available: str) -> str:
    if _version(available) >= LEAST_PGVECTOR:
        return "run ALTER EXTENSION vector UPDATE"
    return "install a newer package on the server, then run ALTER EXTENSION vector UPDATE"


def check_may_install(connection: Connection, schema: str) -> None:
    """Refuse a login that could not make the tables in that schema, before anything is done.

    Raises:
        DatabaseError: with the statement that an administrator runs.
    """
    login, named, is_there, may_create, lacks_vector, database = fetch_one(
        connection.execute(
            """
            SELECT quote_ident(current_user), quote_ident(%(schema)s),
                EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s),
                coalesce(
                    (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace
                     WHERE nspname = %(schema)s),
                    has_database_privilege(current_database(), 'CREATE')),
                NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') AND NOT EXISTS (
                    SELECT FROM pg_available_extension_versions AS v, pg_roles AS r
                    WHERE v.name = 'vector' AND r.rolname = current_user AND (r.rolsuper OR NOT
                        v.superuser OR v.trusted
                        AND has_database_privilege(current_database(), 'CREATE'))),
                current_database()
            """,
            {"schema": schema},
        )
    )
    if not may_create:
        given = f"GRANT USAGE, CREATE ON SCHEMA {named} TO {login}"
        made = f"CREATE SCHEMA {named} AUTHORIZATION {login}"
        raise DatabaseError(
            f"{login} may not make tables in the schema {named}; an administrator runs: "
            f"{given if is_there else made}"
        )
    if lacks_vector:
        place = f" SCHEMA {named}" if is_there else ""
        raise DatabaseError(
            f"pgvector is not installed in the database {database} and {login} may not install "
            f"it; there an administrator runs: CREATE EXTENSION vector{place}"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
