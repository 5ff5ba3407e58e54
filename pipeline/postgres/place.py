"""Where our tables are: in one schema of the database, chosen at the first migrate."""

import contextlib

from psycopg import sql
from psycopg.errors import DependentObjectsStillExist

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection

_MADE = "Made by pipeline migrate."
# Tables that no other program has all of.
_OURS = ["embedding_spaces", "ingest_jobs", "multimodal_items", "source_items"]

_GRANTEES = """
SELECT DISTINCT r.rolname FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE n.nspname = %s AND a.grantee <> n.nspowner
"""


def is_migrated(connection: Connection, schema: str) -> bool:
    """Whether our tables are in that schema, and this login may see them."""
    found = connection.execute(
        """
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = 'embedding_spaces'
          AND has_schema_privilege(n.oid, 'USAGE')
        """,
        (schema,),
    )
    return found.rowcount > 0


def schemas_of_ours(connection: Connection) -> list[str]:
    """Every schema of the database that has our tables, made by who may make a schema."""
    rows = connection.execute(
        """
        SELECT n.nspname
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_roles AS r ON r.oid = c.relowner
        WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
          -- Whoever else has a schema could make tables by these names, and lead us there.
          AND (r.rolsuper OR r.rolname = current_user
               OR has_database_privilege(r.oid, current_database(), 'CREATE'))
        GROUP BY n.nspname HAVING count(*) = %s ORDER BY n.nspname
        """,
        (_OURS, len(_OURS)),
    ).fetchall()
    return [name for (name,) in rows]


def check_place(connection: Connection, schema: str) -> None:
    """Refuse to look, or to migrate, in one schema while our tables are in another.

    Raises:
        ConfigurationError: naming both, and what to set.
    """
    found = schemas_of_ours(connection)
    if found and schema not in found:
        raise ConfigurationError(
            f"PIPELINE_SCHEMA is {schema}, but the pipeline's tables of this database are in the "
            f"schema {found[0]}; set PIPELINE_SCHEMA={found[0]}"
        )


def make_schema(connection: Connection, schema: str) -> None:
    """The schema, where there is none of that name. No right in it is given by default."""
    # IF NOT EXISTS asks for the right to create one even where it is there.
    row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if row is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for (grantee,) in connection.execute(_GRANTEES, (schema,)).fetchall():
            who = sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)
            connection.execute(
                sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(sql.Identifier(schema), who)
            )
        connection.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(_MADE))
        )


def drop_schema(connection: Connection, schema: str) -> None:
    """The schema that :func:`make_schema` made, unless something is in it still."""
    made = connection.execute(
        "SELECT FROM pg_namespace WHERE nspname = %s AND obj_description(oid, 'pg_namespace') = %s",
        (schema, _MADE),
    )
    if made.rowcount:
        with contextlib.suppress(DependentObjectsStillExist), connection.transaction():
            connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
