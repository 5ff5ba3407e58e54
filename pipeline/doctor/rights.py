"""Whether anybody has gained a right by the pipeline's being there."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres import schema
from pipeline.postgres.connections import Connection
from pipeline.postgres.strangers import cure_of_open_schemas, open_schemas


def rights(connection: Connection) -> Iterator[Check]:
    yield _schemas(connection)
    yield _functions(connection)
    yield _tables(connection)
    yield _dblink(connection)


def _schemas(connection: Connection) -> Check:
    schemas = schema.schemas_of(connection)
    found = open_schemas(connection, schemas.names)
    if not found:
        return Check("schema", True, f"only who was given it may create in {schemas.schema}")
    said = f"every login may create functions in {', '.join(found)}, which others would call"
    return Check("schema", False, said, cure_of_open_schemas(connection, found))


_CALLERS = """
SELECT p.oid::regprocedure::text, coalesce(r.rolname, 'PUBLIC')
FROM pg_proc AS p
CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE a.grantee <> p.proowner AND a.privilege_type = 'EXECUTE'
  AND (r.rolname IS NULL OR r.rolname !~ '^pipeline_(analyst|ingest|owner|loopback(_[0-9]+)?)$')
  AND (p.proname = %(name)s OR p.prosecdef
       AND (pg_identify_object('pg_proc'::regclass, p.oid, 0)).identity = ANY (%(functions)s))
ORDER BY 1, 2
"""


def _functions(connection: Connection) -> Check:
    """Of those that run with their owner's rights."""
    functions = schema.installed_functions(connection)
    given = connection.execute(_CALLERS, {"name": "", "functions": functions}).fetchall()
    if not given:
        return Check(
            "functions", True, "only the pipeline's roles may call what acts for its owner"
        )
    said = "; ".join(f"{who} may call {function}" for function, who in given)
    return Check("functions", False, said, _revoked(connection, given))


TABLES = (
    "embedding_spaces", "ingest_jobs", "installed_sql", "known_modalities", "media_roots",
    "multimodal_items", "query_embeddings", "query_servers", "source_items", "space_evaluations",
    "space_modalities", "space_probes", "space_tunings",
)  # fmt: skip
_OURS = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")
# Beside source_items, which anybody may be let write, and the columns that a role may.
_WRITERS = """
SELECT c.oid::regclass::text, coalesce(r.rolname, 'PUBLIC')
FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'multimodal_items'::regclass)
  AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'multimodal_items'::regclass)
  AND (c.relname = ANY (%(tables)s) OR c.relname ~ '^multimodal_items_.*_s[0-9]+$')
  AND a.grantee <> c.relowner
  AND (r.rolname IS NULL OR r.rolname <> ALL (%(roles)s))
  AND (a.privilege_type = 'TRIGGER' OR c.relname <> 'source_items'
       AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
GROUP BY 1, 2 ORDER BY 1, 2
"""


def _tables(connection: Connection) -> Check:
    """Whoever may put a trigger on what our functions write, acts as their owner."""
    given = connection.execute(_WRITERS, {"tables": list(TABLES), "roles": list(_OURS)}).fetchall()
    if not given:
        return Check("tables", True, "only the pipeline's roles may write them")
    said = "; ".join(f"{who} may write {table}, or put triggers on it" for table, who in given)
    return Check("tables", False, said, _revoked(connection, given, "TABLE"))


def _dblink(connection: Connection) -> Check:
    """With ``dblink_connect_u()`` a login connects as the server's own account."""
    row = connection.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'dblink'"
    ).fetchone()
    if row is None:
        return Check("dblink", True, "not installed: new texts need CALL embed_query('...')")
    given = connection.execute(_CALLERS, {"name": "dblink_connect_u", "functions": []}).fetchall()
    if given:
        who = ", ".join(sorted({name for _, name in given}))
        said = f"{who} may connect as the server's own account, by dblink_connect_u()"
        return Check("dblink", False, said, _revoked(connection, given))
    if row[0] == "pipeline_dblink":
        return Check("dblink", True, "only the pipeline's functions may use it")
    return Check("dblink", True, f"was there before, in {row[0]}: every login may use it")


def _revoked(connection: Connection, given: list[tuple[str, str]], kind: str = "FUNCTION") -> str:
    return "; ".join(
        sql.SQL("REVOKE ALL ON {} {} FROM {}")
        .format(
            sql.SQL(kind),
            sql.SQL(name),
            sql.SQL("PUBLIC") if who == "PUBLIC" else sql.Identifier(who),
        )
        .as_string(connection)
        for name, who in given
    )
