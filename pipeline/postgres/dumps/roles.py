"""The roles of ours that a dump gives rights to: no dump of a database makes them."""

from collections.abc import Collection

from psycopg import errors, sql

from pipeline.postgres.carried import carried
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.schema import ROLES

LOOPBACK = "pipeline_loopback"


def make_roles_of_ours(connection: Connection, named: Collection[str]) -> None:
    """Those of ``named`` that are missing, as far as this login may make roles."""
    try:
        if set(named) & set(ROLES):
            connection.execute((carried("sql") / "schema/roles.sql").read_bytes())
        for name in sorted(n for n in named if n.startswith(LOOPBACK)):
            _make_login(connection, name)
    except errors.InsufficientPrivilege:
        return


def _make_login(connection: Connection, name: str) -> None:
    """What the server logs in to itself as, see ``sql/schema/loopback_login.sql``.

    One that has a password in the other server, by ``configure_loopback()``, logs in nowhere here:
    that makes another. Nor does any where a superuser's functions are not used.
    """
    row = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    if row is not None:
        return
    (is_superuser,) = fetch_one(
        connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    )
    option = "LOGIN CONNECTION LIMIT 10" if is_superuser and name == LOOPBACK else "NOLOGIN"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} {}").format(role, sql.SQL(option)))
    connection.execute(sql.SQL("COMMENT ON ROLE {} IS 'Made by pipeline migrate.'").format(role))
