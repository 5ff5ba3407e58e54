"""Who else could put functions where ours are called, and so act as whoever runs the pipeline.

PostgreSQL prefers a function of just the types that are given, in whichever schema of the search
path it is. So nothing is run there before it is known who may create in it: our schema, and
pgvector's. To be asked with a search path of PostgreSQL's own alone (``settle_transaction``).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who may create in a schema of ours.

    Attributes:
        schema: the name of it, and of ``name``, as the catalogue has them.
        owns: whether the schema is theirs, rather than that they were given CREATE.
        gains_all: whether they would gain a superuser's rights, rather than another login's.
    """

    schema: str
    name: str
    owns: bool
    gains_all: bool


# Nobody is one who may act as this login anyway, nor for a login that is no superuser whose rights
# it has itself, or who was merely given CREATE: that is for doctor to say.
_STRANGERS = """
SELECT n.nspname, pg_get_userbyid(who.oid), who.owns, login.rolsuper
FROM pg_namespace AS n
JOIN pg_roles AS login ON login.rolname = current_user
CROSS JOIN LATERAL (
    SELECT CASE pg_get_userbyid(n.nspowner) WHEN 'pg_database_owner' THEN d.datdba
        ELSE n.nspowner END, true
    FROM pg_database AS d WHERE d.datname = current_database()
    UNION ALL
    SELECT a.grantee, false FROM aclexplode(n.nspacl) AS a
    WHERE a.privilege_type = 'CREATE' AND a.grantee NOT IN (0, n.nspowner)
) AS who (oid, owns)
JOIN pg_roles AS r ON r.oid = who.oid AND NOT r.rolsuper
WHERE n.nspname = ANY (%s) AND NOT pg_has_role(who.oid, login.oid, 'MEMBER')
  AND (login.rolsuper OR who.owns AND NOT pg_has_role(login.oid, who.oid, 'MEMBER'))
ORDER BY array_position(%s::name[], n.nspname), who.owns DESC, 2
"""


def strangers(connection: Connection, schemas: Sequence[str]) -> list[Stranger]:
    """Who could act as this login by what they put into these schemas."""
    names = list(schemas)
    return [Stranger(*row) for row in connection.execute(_STRANGERS, (names, names)).fetchall()]


_CREATORS = """
SELECT n.nspname, r.rolname, bool_or(who.owns), owner.rolsuper OR login.rolsuper
FROM pg_namespace AS n
CROSS JOIN LATERAL (
    SELECT CASE pg_get_userbyid(n.nspowner) WHEN 'pg_database_owner' THEN d.datdba
        ELSE n.nspowner END, true
    FROM pg_database AS d WHERE d.datname = current_database()
    UNION ALL
    SELECT a.grantee, false FROM aclexplode(n.nspacl) AS a
    WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
) AS who (oid, owns)
JOIN pg_roles AS r ON r.oid = who.oid AND NOT r.rolsuper
JOIN pg_class AS c ON c.oid = to_regclass('embedding_spaces')
JOIN pg_roles AS owner ON owner.oid = c.relowner
JOIN pg_roles AS login ON login.rolname = current_user
WHERE n.nspname = ANY (%s) AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER')
GROUP BY n.nspname, r.rolname, owner.rolsuper, login.rolsuper ORDER BY 1, 2
"""


def creators(connection: Connection, schemas: Sequence[str]) -> list[Stranger]:
    """Whoever may create in these schemas, but for the owner of our tables and who may act as
    that; a superuser's rights are the owner's or this login's."""
    rows = connection.execute(_CREATORS, (list(schemas),)).fetchall()
    return [Stranger(*row) for row in rows]


def risk(connection: Connection, schema: str) -> tuple[Stranger, str] | None:
    """The first stranger in our schema or pgvector's, and a sentence that says what to do."""
    found = strangers(connection, schemas_used(connection, schema))
    if not found:
        return None
    return found[0], _said(connection, schema, found[0])


def check_strangers(connection: Connection, schema: str) -> None:
    """Refuse schemas by which others would gain a superuser's rights, or everybody somebody's.

    Where a superuser's tables are there already, strangers are for :func:`risk` to warn of: there
    is no way back from it but to take their rights.

    Raises:
        DatabaseError: with the statement that mends it, or who is to migrate instead.
    """
    if found := open_schemas(connection, schemas_used(connection, schema)):
        raise DatabaseError(
            f"every login may create functions in the schema {', '.join(found)}, which would "
            "be called with the rights of whoever runs the pipeline (databases from before "
            f"PostgreSQL 15 are so); its owner runs: {cure_of_open_schemas(connection, found)}; "
            "and GRANT CREATE to those roles that need it"
        )
    worst = risk(connection, schema)
    if worst and worst[0].gains_all and not _is_a_superusers(connection, schema):
        raise DatabaseError(worst[1])


def schemas_used(connection: Connection, schema: str) -> list[str]:
    """Our schema and pgvector's, as the catalogue has them; where they are not there, not."""
    rows = connection.execute(
        "SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    ).fetchall()
    return list(dict.fromkeys([schema, *(name for (name,) in rows)]))


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


def cure_of_open_schemas(
    connection: Connection, schemas: Sequence[str], who: Sequence[str] = ()
) -> str:
    """The statement that closes them, for their owner. ``who``: to whom; nobody: to PUBLIC."""
    names = sql.SQL(", ").join(map(sql.Identifier, schemas))
    roles = sql.SQL(", ").join(map(sql.Identifier, who)) if who else sql.SQL("PUBLIC")
    return sql.SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(names, roles).as_string(connection)


def _said(connection: Connection, schema: str, stranger: Stranger) -> str:
    login = connection.info.user
    where = f"the schema {stranger.schema}"
    if stranger.schema != schema:
        where += ", where pgvector is,"
        move = sql.SQL(
            "move pgvector: CREATE SCHEMA IF NOT EXISTS {0}; ALTER EXTENSION vector SET SCHEMA {0}"
        ).format(sql.Identifier(schema))
        instead = move.as_string(connection)
    else:
        instead = "into a schema of the pipeline's own (PIPELINE_SCHEMA=pipeline)"
    if stranger.owns:
        return (
            f"{where} belongs to {stranger.name}, who could act as {login} by way of the functions "
            f"that {login} runs there; migrate as {stranger.name}, or {instead}"
        )
    cure = cure_of_open_schemas(connection, [stranger.schema], [stranger.name])
    return (
        f"in {where} {stranger.name} may create functions, and could act as {login}, who would run "
        f"them; run: {cure}; or migrate as who owns the schema, or {instead}"
    )


def _is_a_superusers(connection: Connection, schema: str) -> bool:
    """Whether our tables are there, and a superuser's: not what others made by their names."""
    (found,) = fetch_one(
        connection.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                JOIN pg_roles AS owner ON owner.oid = c.relowner
                WHERE n.nspname = %s AND c.relname = 'embedding_spaces' AND c.relkind = 'r'
                  AND owner.rolsuper)
            """,
            (schema,),
        )
    )
    return bool(found)
