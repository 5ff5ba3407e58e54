"""Policies that hide rows of ours from those who must see them all; see docs/security.md."""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import psycopg

from pipeline.postgres.connections import Connection, fetch_one

T = TypeVar("T")

# This login's, where it embeds, the owner's (FORCE), and the roles' that are there for it.
_HIDDEN = """
SELECT DISTINCT t.name, quote_ident(r.rolname)
FROM (VALUES ('source_items'), ('multimodal_items'), ('ingest_jobs')) AS t (name)
JOIN pg_class AS c ON c.oid = to_regclass(t.name)
JOIN pg_roles AS r ON r.oid = c.relowner OR r.rolname IN ('pipeline_ingest', 'pipeline_owner')
    OR r.rolname = current_user AND has_table_privilege('ingest_jobs', 'UPDATE')
WHERE has_table_privilege(r.oid, c.oid, 'SELECT') AND NOT sees_all_rows(c.oid, r.rolname)
ORDER BY 1, 2
"""


def hidden_rows(connection: Connection) -> dict[str, list[str]]:
    """Table -> the roles, quoted where they need it, that a policy keeps from some of its rows."""
    found: dict[str, list[str]] = defaultdict(list)
    for table, role in connection.execute(_HIDDEN).fetchall():
        found[table].append(role)
    return dict(found)


def is_kept_from_rows(connection: Connection) -> bool:
    """Whether a policy hides rows of ours from this login."""
    (sees_all,) = fetch_one(
        connection.execute(
            """
            SELECT bool_and(sees_all_rows(to_regclass(name), current_user))
            FROM unnest(ARRAY['source_items', 'multimodal_items', 'ingest_jobs']) AS name
            """
        )
    )
    return not sees_all


def whole(work: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """``work``, which is about everybody's rows, for a login that may see them all.

    What it makes raises psycopg.errors.InsufficientPrivilege where a policy hides some.
    """

    def checked(connection: Connection) -> T:
        if is_kept_from_rows(connection):
            raise psycopg.errors.InsufficientPrivilege("a policy hides rows from this login")
        return work(connection)

    return checked


def check_sees_all_rows(connection: Connection) -> None:
    """Refuse to compare, claim or remove where a policy hides rows from this login.

    Raises:
        psycopg.errors.InsufficientPrivilege: with the statement that gives it the rows.
    """
    connection.execute("SELECT check_sees_all_rows()")
