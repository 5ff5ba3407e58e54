"""At which revision our schema is: in a version table of our own.

Alembic's usual one, ``alembic_version``, is the application's. Ours was kept there once; what is
ours of it moves, and what is the application's stays. Revisions are ours by their names, or, of
those from before the migrations were folded, by our tables: an application may be at 0013 as well.
"""

import re
from collections.abc import Set

from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.carried import carried
from pipeline.postgres.connections import Connection, fetch_one

TABLE = "pipeline_alembic_version"
SHARED = "alembic_version"
EARLIER = frozenset(f"{number:04d}" for number in range(1, 14))
_NAME = re.compile(r"pipeline_\d{4}_\w+")
# Columns that the table of source items has had since its first revision.
_COLUMNS = ["source", "source_key", "modality", "content_ref", "metadata"]


def of_ours(connection: Connection, schema: str) -> set[str]:
    """Our revisions in that schema, wherever they are kept; at most one, unless by somebody's hand.

    Names of ``EARLIER`` are those from before the folding.
    """
    return _in(connection, schema, TABLE) or in_shared_table(connection, schema)


def newest() -> str:
    """Of the migrations that this release has."""
    versions = carried("migrations") / "versions"
    return max(path.stem for path in versions.glob("pipeline_*.py"))


def check(connection: Connection, schema: str) -> None:
    """Refuse a schema that this release's statements would not find their tables in.

    One of a later release is not refused: what a release adds, the statements of the one before do
    without, and where it cannot be so their errors end the command.

    Raises:
        DatabaseError: it is older than this release.
    """
    (is_closed,) = fetch_one(
        connection.execute(
            "SELECT NOT has_table_privilege(to_regclass(format('%%I.%%I', %s::text, %s::text)), "
            "'SELECT')",
            (schema, TABLE),
        )
    )
    if is_closed:
        return  # for a login with single rights: the statements themselves will tell
    found = max(of_ours(connection, schema), default="none")
    if found != "none" and found < newest():
        raise DatabaseError(
            f"the database is at revision {found}, and this release needs {newest()}; "
            "run `pipeline migrate`"
        )


def in_shared_table(connection: Connection, schema: str) -> set[str]:
    """Our revisions that are in the application's version table still."""
    if _is_there(connection, schema, TABLE):
        return set()
    found = _in(connection, schema, SHARED)
    named = {revision for revision in found if _NAME.fullmatch(revision)}
    if named or not found & EARLIER or not _has_source_items(connection, schema):
        return named
    return found & EARLIER


def move(connection: Connection, schema: str, found: Set[str], becomes: Set[str]) -> None:
    """From the shared table into ours; the shared one goes where it held nothing else."""
    make_table(connection, schema)
    own, shared = sql.Identifier(schema, TABLE), sql.Identifier(schema, SHARED)
    connection.execute(
        sql.SQL("INSERT INTO {} (version_num) SELECT unnest(%s::text[])").format(own),
        (sorted(becomes),),
    )
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE version_num = ANY (%s)").format(shared), (sorted(found),)
    )
    if not _in(connection, schema, SHARED):
        connection.execute(sql.SQL("DROP TABLE {}").format(shared))


def make_table(connection: Connection, schema: str) -> None:
    """Our version table, as Alembic makes it, where there is none."""
    if _is_there(connection, schema, TABLE):
        return
    (is_taken,) = fetch_one(
        connection.execute(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL", (schema, TABLE)
        )
    )
    if is_taken:
        raise DatabaseError(
            f"{schema}.{TABLE} was there already and is not the pipeline's, which needs the name; "
            "whoever made it drops it, or give the pipeline a schema of its own (PIPELINE_SCHEMA)"
        )
    table = sql.Identifier(schema, TABLE)
    connection.execute(
        sql.SQL("CREATE TABLE {} (version_num varchar(32) PRIMARY KEY)").format(table)
    )
    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS 'The last migration of the pipeline.'").format(table)
    )
    connection.execute(sql.SQL("COMMENT ON COLUMN {}.version_num IS 'Its name.'").format(table))


def drop_table(connection: Connection, schema: str) -> None:
    """Nothing of ours is left, so no table says where it is."""
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, TABLE)))


def _in(connection: Connection, schema: str, table: str) -> set[str]:
    if not _is_there(connection, schema, table):
        return set()
    rows = connection.execute(
        sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(schema, table))
    ).fetchall()
    return {revision for (revision,) in rows}


def _is_there(connection: Connection, schema: str, table: str) -> bool:
    """Whether it is one to be read: what somebody else made by that name could run what they want.

    A plain table of this login's, a superuser's, or of who may act as the owner of our tables.
    """
    (found,) = fetch_one(
        connection.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_class AS c JOIN pg_roles AS owner ON owner.oid = c.relowner
                WHERE c.oid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
                  AND c.relkind = 'r' AND NOT c.relrowsecurity
                  AND has_table_privilege(c.oid, 'SELECT')
                  AND (owner.rolsuper OR owner.rolname = current_user OR pg_has_role(owner.oid, (
                    SELECT relowner FROM pg_class WHERE oid = to_regclass(
                        format('%%I.embedding_spaces', %(schema)s::text))), 'MEMBER')))
            """,
            {"schema": schema, "table": table},
        )
    )
    return bool(found)


def _has_source_items(connection: Connection, schema: str) -> bool:
    (found,) = fetch_one(
        connection.execute(
            """
            SELECT count(*) = %s FROM pg_attribute
            WHERE attrelid = to_regclass(format('%%I.source_items', %s::text))
              AND attname = ANY (%s)
            """,
            (len(_COLUMNS), schema, _COLUMNS),
        )
    )
    return bool(found)
