"""The server, the schema, and the SQL that is installed in it."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.errors import PipelineError
from pipeline.postgres import migrate, rights, schema
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.database import Database
from pipeline.postgres.place import check_place, is_migrated
from pipeline.postgres.requirements import check_server, lossy_pgvector


def server(connection: Connection) -> Check:
    try:
        check_server(connection, old_pgvector=True)
    except PipelineError as exc:
        return Check("server", False, str(exc))
    row = fetch_one(
        connection.execute(
            "SELECT current_setting('server_version'), "
            "(SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        )
    )
    return Check("server", True, f"PostgreSQL {row[0]}, pgvector {row[1] or 'not installed yet'}")


def pgvector(connection: Connection) -> Iterator[Check]:
    """Whether it is one that loses rows; nothing where it is not."""
    found = lossy_pgvector(connection)
    if found is not None:
        version, cure = found
        yield Check(
            "pgvector",
            False,
            f"{version} LOSES ROWS: a vacuum may leave an HNSW index from which rows are missing, "
            "and searches do not find them; none of it shows as an error",
            f"{cure}, and REINDEX every HNSW index",
        )


def reading(connection: Connection, database: Database) -> Check:
    """Whether this login may look at what there is."""
    if is_migrated(connection, database.schema):
        found = rights.lack(connection, rights.READ)
    else:
        found = rights.hidden(connection)
    if found is not None:
        return Check("rights", False, found.found, found.cure)
    return Check("rights", True, "what there is may be read")


def migrations(connection: Connection, database: Database) -> Check:
    try:
        check_place(connection, database.schema)
    except PipelineError as exc:
        return Check("migrations", False, str(exc))
    at, head = migrate.current(database.url, schema=database.schema)
    if at == head:
        return Check("migrations", True, f"at {head}")
    return Check("migrations", False, f"at {at or 'none'}, newest is {head}", "pipeline migrate")


def installed_sql(connection: Connection) -> Check:
    """Whether functions, triggers and views are those of this release."""
    if schema.is_current(connection):
        return Check("installed SQL", True, "functions, triggers and views of this release")
    return Check(
        "installed SQL",
        False,
        "the functions, triggers and views are not those of this release",
        "pipeline migrate",
    )
