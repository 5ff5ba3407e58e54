"""Whether a dump can be restored into a database: asked before anything is done there."""

from psycopg import errors, sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.dumps.archive import Archive
from pipeline.postgres.dumps.roles import LOOPBACK

_DBLINK_SCHEMA = "pipeline_dblink"
# What our functions can do without, see sql/schema/extensions.sql.
_DISPENSABLE = {"dblink"}

# Everything in a schema depends on it; an extension and its members are nobody's data.
_OCCUPANT = """
SELECT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend AS d JOIN pg_namespace AS n ON n.oid = d.refobjid
LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype = 'n' AND n.nspname = ANY (%s)
  AND d.classid <> 'pg_extension'::regclass
  AND NOT EXISTS (
    SELECT FROM pg_depend AS e
    WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
ORDER BY coalesce(c.relkind IN ('r', 'p'), false) DESC, 1 LIMIT 1
"""


def refuse_occupied(connection: Connection, archive: Archive) -> None:
    """Raises:
    DatabaseError: a schema that the dump fills has something in it.
    """
    found = connection.execute(_OCCUPANT, (list(archive.schemas),)).fetchone()
    if found is not None:
        (database,) = fetch_one(connection.execute("SELECT current_database()"))
        raise DatabaseError(
            f"the database {database} has something in it already ({found[0]}), and nothing is "
            "overwritten; restore into an empty one (createdb), or if `pipeline db restore` was "
            "cut off after its data, `pipeline migrate` ends it"
        )


def keeps_owners(connection: Connection, archive: Archive) -> bool:
    """Whether everything belongs to whom it belonged to, rather than to this login.

    What a superuser takes over would run with a superuser's rights, so that is refused; somebody
    else gains nothing by it.

    Raises:
        DatabaseError: naming the roles that are missing, and the statements that make them.
    """
    rows = connection.execute(
        """
        SELECT o.name, coalesce(pg_has_role(r.oid, 'MEMBER'), false), me.rolsuper
        FROM unnest(%s::text[]) AS o (name) LEFT JOIN pg_roles AS r ON r.rolname = o.name
        CROSS JOIN pg_roles AS me WHERE me.rolname = current_user ORDER BY o.name
        """,
        (sorted(archive.owners),),
    ).fetchall()
    lacking = [name for name, may_act, _ in rows if not may_act]
    if lacking and (len(rows) > 1 or rows[0][2]):
        raise DatabaseError(
            f"what is in the dump belongs to {', '.join(lacking)}, and this login cannot give it "
            f"back; where no such role is, an administrator runs: {_made(connection, lacking)}"
        )
    return not lacking


def refuse_missing_roles(connection: Connection, archive: Archive) -> None:
    """Raises:
    DatabaseError: the dump gives rights to roles that are not here.
    """
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS o (name) "
        "WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY name",
        (sorted(archive.roles),),
    ).fetchall()
    lacking = [name for (name,) in rows]
    if lacking:
        raise DatabaseError(
            f"the dump gives rights to {', '.join(lacking)}, of which this server knows nothing; "
            f"an administrator runs: {_made(connection, lacking)}"
        )


def extensions_left_out(connection: Connection, archive: Archive) -> list[str]:
    """Of the dump's extensions those that cannot be made here and that we can do without.

    Raises:
        DatabaseError: another one cannot be made here, or is in another schema here.
    """
    left_out = []
    for name, schema in archive.extensions.items():
        there = connection.execute(
            "SELECT nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace "
            "WHERE extname = %s",
            (name,),
        ).fetchone()
        if there is not None:
            if there[0] != schema:
                moved = sql.SQL("ALTER EXTENSION {} SET SCHEMA {}").format(
                    sql.Identifier(name), sql.Identifier(schema)
                )
                raise DatabaseError(
                    f"the extension {name} is in the schema {there[0]} here, and in {schema} in "
                    f"the dump; its owner runs: {moved.as_string(connection)}"
                )
        elif problem := _cannot_make(connection, name, schema):
            if name not in _DISPENSABLE:
                raise DatabaseError(
                    f"the dump needs the extension {name}, which cannot be made here: {problem}"
                )
            left_out.append(name)
    return left_out


def entries_left_out(connection: Connection, archive: Archive, left_out: list[str]) -> list[str]:
    """How the entries begin that are not restored: comments on extensions, which are others' here;
    schemas that are there; the way back to the other server, which is made anew; and what belongs
    to an extension that is left out."""
    rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    kinds = ["COMMENT - EXTENSION ", *(f"SCHEMA - {name} " for (name,) in rows)]
    kinds += [f"SERVER - {LOOPBACK} ", f"ACL - FOREIGN SERVER {LOOPBACK} "]
    kinds += [
        f"USER MAPPING - {entry.name} "
        for entry in archive.entries
        if entry.type == "USER MAPPING" and entry.name.endswith(f" SERVER {LOOPBACK}")
    ]
    if "dblink" in left_out:
        kinds += [f"SCHEMA - {_DBLINK_SCHEMA} ", f"ACL - SCHEMA {_DBLINK_SCHEMA} "]
        kinds += [f"ACL {_DBLINK_SCHEMA} ", "EXTENSION - dblink ", "ACL - FOREIGN DATA WRAPPER dbl"]
    return kinds


def _cannot_make(connection: Connection, name: str, schema: str) -> str:
    """Why not; tried, since managed services allow what the catalogue says they do not."""
    make = sql.SQL("CREATE EXTENSION {} SCHEMA {}")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            )
            connection.execute(make.format(sql.Identifier(name), sql.Identifier(schema)))
    except errors.Error as exc:
        return exc.diag.message_primary or str(exc)
    return ""


def _made(connection: Connection, names: list[str]) -> str:
    query = (
        "SELECT string_agg(format('CREATE ROLE %%I NOLOGIN', n), '; ') FROM unnest(%s::text[]) n"
    )
    (statements,) = fetch_one(connection.execute(query, (names,)))
    return str(statements)
