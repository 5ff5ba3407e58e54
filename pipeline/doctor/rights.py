"""Whether anybody has gained a right by the pipeline's being there."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres import schema
from pipeline.postgres.connections import Connection
from pipeline.postgres.granted import OF_ITEMS, granted
from pipeline.postgres.role_holders import FOR_NOBODY, holders
from pipeline.postgres.strangers import creators, cure_of_open_schemas, open_schemas


def rights(connection: Connection) -> Iterator[Check]:
    yield _schemas(connection)
    yield _functions(connection)
    yield _tables(connection)
    yield _roles(connection)
    yield _dblink(connection)


def _schemas(connection: Connection) -> Check:
    schemas = schema.schemas_of(connection)
    if found := open_schemas(connection, schemas.names):
        said = f"every login may create functions in {', '.join(found)}, which others would call"
        return Check("schema", False, said, cure_of_open_schemas(connection, found))
    given = creators(connection, schemas.names)
    if not given:
        return Check("schema", True, f"nobody but its owner may create in {schemas.schema}")
    said = "; ".join(f"{one.name} may create functions in {one.schema}" for one in given)
    risky = [one for one in given if one.gains_all]
    if not risky:
        return Check("schema", True, f"{said}, whom the owner of the tables is to trust")
    cures = [
        sql.SQL("ALTER SCHEMA {} OWNER TO CURRENT_USER")
        .format(sql.Identifier(one.schema))
        .as_string(connection)
        if one.owns
        else cure_of_open_schemas(connection, [one.schema], [one.name])
        for one in risky
    ]
    return Check("schema", False, f"{said}, which a superuser would call", "; ".join(cures))


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
    "attached_listing_pages", "attached_objects", "attached_source_problems", "attached_sources",
    "deleted_items", "embedding_spaces", "ingest_jobs", "ingest_runs", "ingest_workers",
    "installed_sql", "known_modalities", "media_roots", "multimodal_items", "query_embeddings",
    "query_files", "query_servers", "source_items",
    "space_evaluations", "space_modalities", "space_probes", "space_rotations", "space_tunings",
)  # fmt: skip
# What would let somebody act as the functions' owner, change what is ours, or read what is others'.
_RIGHTS = """
SELECT c.oid::regclass::text, c.relname, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'multimodal_items'::regclass)
  AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'multimodal_items'::regclass)
  AND (c.relname = ANY (%(tables)s) OR c.relname ~ '^multimodal_items_.*_s[0-9]+$')
  AND a.grantee <> c.relowner
  AND CASE c.relname
      -- Which anybody may be let write.
      WHEN 'source_items' THEN a.privilege_type = 'TRIGGER'
      WHEN 'query_embeddings' THEN true
      ELSE a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER') END
ORDER BY 1, 3, 4
"""


def _tables(connection: Connection) -> Check:
    """Whoever may put a trigger on what our functions write, acts as their owner."""
    expected = granted()
    given: dict[tuple[str, str], list[str]] = {}
    for table, name, who, right in connection.execute(_RIGHTS, {"tables": list(TABLES)}).fetchall():
        usual = expected.get((who, name), set()) if name in TABLES else OF_ITEMS.get(who, ())
        if right not in usual:
            given.setdefault((table, who), []).append(right)
    if not given:
        return Check("tables", True, "only the pipeline's roles may write them")
    said = "; ".join(
        f"{who} has {', '.join(has)} on {table}" for (table, who), has in given.items()
    )
    cures = [_revoked(connection, [of], "TABLE", ", ".join(has)) for of, has in given.items()]
    return Check("tables", False, said, "; ".join(cures))


def _roles(connection: Connection) -> Check:
    """Roles are the server's: who may grant ours has their rights here."""
    found = [h for h in holders(connection, *schema.ROLES, *FOR_NOBODY) if h.is_risk]
    if not found:
        return Check("roles", True, "nobody may give the pipeline's roles but an administrator")
    said = ", ".join(holder.said for holder in found)
    return Check("roles", False, said, "; ".join(holder.cure(connection) for holder in found))


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


def _revoked(
    connection: Connection,
    given: list[tuple[str, str]],
    kind: str = "FUNCTION",
    rights: str = "ALL",
) -> str:
    return "; ".join(
        sql.SQL("REVOKE {} ON {} {} FROM {}")
        .format(
            sql.SQL(rights),
            sql.SQL(kind),
            sql.SQL(name),
            sql.SQL("PUBLIC") if who == "PUBLIC" else sql.Identifier(who),
        )
        .as_string(connection)
        for name, who in given
    )
