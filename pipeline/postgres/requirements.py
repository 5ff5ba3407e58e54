"""What a server must have: a PostgreSQL and a pgvector that lose no rows."""

from collections.abc import Sequence

from psycopg import sql

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


_STRANGER = """
SELECT n.nspname, pg_get_userbyid(o.owner), current_user
FROM pg_namespace AS n
CROSS JOIN LATERAL (
    SELECT CASE pg_get_userbyid(n.nspowner) WHEN 'pg_database_owner' THEN d.datdba
        ELSE n.nspowner END
    FROM pg_database AS d WHERE d.datname = current_database()
) AS o (owner)
JOIN pg_roles AS r ON r.oid = o.owner AND NOT r.rolsuper
WHERE n.nspname = %s AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
"""


def stranger(connection: Connection, schema: str) -> str | None:
    """A sentence where the schema's owner could act as the superuser who migrates: whoever owns a
    schema may drop what is in it, and put in its place what our functions call."""
    row = connection.execute(_STRANGER, (schema,)).fetchone()
    if row is None:
        return None
    name, owner, login = row
    return (
        f"the schema {name} belongs to {owner}, who could act as {login} by way of the functions "
        f"that {login} installs there; migrate as {owner}, or into a schema of the pipeline's own "
        "(PIPELINE_SCHEMA=pipeline)"
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
