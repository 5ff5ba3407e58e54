"""What the files of ``sql/`` make: triggers, views and routines, by the names that DROP takes.

An object is written as its kind and its name, such as ``view @schema@.item_catalog``: our schema by
its placeholder, so that it may be renamed.
"""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.postgres.installed import read_installed
from pipeline.postgres.sql_files import Schemas, fill_in

# Each kind before those that it may use.
KINDS = ("trigger", "view", "procedure", "function")

# An object is new when this transaction wrote its row of the catalogue: CREATE OR REPLACE always
# does. (A row that a block with EXCEPTION writes has the number of a subtransaction instead.)
_OBJECTS = """
SELECT i.type || ' ' || replace(i.identity, %(schema)s || '.', '@schema@.'),
    o.xmin = pg_current_xact_id()::xid
FROM (
    SELECT 'pg_proc'::regclass AS catalogue, oid, xmin FROM pg_proc
    WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_class'::regclass, oid, xmin FROM pg_class
    WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'v'
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, t.xmin
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND NOT t.tgisinternal
) AS o
CROSS JOIN LATERAL pg_identify_object(o.catalogue, o.oid, 0) AS i
WHERE i.type = ANY (%(kinds)s) AND NOT EXISTS (
    SELECT FROM pg_depend AS d
    WHERE d.classid = o.catalogue AND d.objid = o.oid AND d.deptype = 'e')
ORDER BY array_position(%(kinds)s, i.type), i.identity
"""


def list_objects(connection: Connection, schemas: Schemas) -> list[tuple[str, bool]]:
    """Those of our schema, anybody's but an extension's; and whether this transaction made it."""
    return connection.execute(_OBJECTS, {"schema": schemas.schema, "kinds": list(KINDS)}).fetchall()


# What is noted beside the objects.
MARKS = frozenset({"setting hnsw.iterative_scan", "setting hnsw.ef_search", "extension dblink"})
_SETTINGS = """
SELECT 'setting ' || split_part(c.entry, '=', 1)
FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS c (entry)
WHERE s.setrole = 0 AND (
    c.entry IN ('hnsw.iterative_scan=relaxed_order', 'hnsw.ef_search=100')
    OR c.entry = 'hnsw.ef_search=' || %s)
  AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL SELECT 'extension dblink' FROM pg_extension WHERE extname = 'dblink'
"""


def list_settings(connection: Connection) -> set[str]:
    """The database's settings that are as ours are, and dblink, whoever made them: what a dump that
    another owner restores comes without."""
    installed = read_installed(connection)
    measured = None if installed is None else installed.ef_search
    rows = connection.execute(_SETTINGS, (None if measured is None else str(measured),))
    return {name for (name,) in rows.fetchall()}


def drop_objects(connection: Connection, schemas: Schemas, objects: Sequence[str]) -> None:
    """Drop all of these, which may use each other.

    Raises:
        DatabaseError: something else uses one of them.
    """
    for kind in KINDS:
        names = [
            sql.SQL(fill_in(name, schemas))
            for of_kind, _, name in (item.partition(" ") for item in objects)
            if of_kind == kind
        ]
        # One statement, since they may use each other; triggers do not, and are dropped singly.
        for together in [[name] for name in names] if kind == "trigger" else filter(None, [names]):
            try:
                connection.execute(
                    sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.SQL(", ").join(together))
                )
            except psycopg.errors.DependentObjectsStillExist as exc:
                raise DatabaseError(
                    f"something of yours depends on the pipeline's: {exc.diag.message_detail}; "
                    "drop it first"
                ) from exc
