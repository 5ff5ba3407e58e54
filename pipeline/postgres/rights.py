"""What a login may in the database, looked at before anything is done with it.

The roles that have the rights are those of ``sql/schema/grants.sql``; whoever was given them in
another way may as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one


@dataclass(frozen=True, slots=True)
class Need:
    """What something has to do with our tables.

    Attributes:
        privileges: by table, those that are needed.
        holder: the role that has them all; None: only who owns the tables may.
    """

    privileges: Mapping[str, tuple[str, ...]]
    holder: str | None

    @property
    def writes(self) -> bool:
        """Whether it changes something, so that a standby is not enough."""
        return self.holder is None or any(
            right != "SELECT" for rights in self.privileges.values() for right in rights
        )


_TABLES = ("embedding_spaces", "space_modalities", "multimodal_items", "source_items")
_READ: dict[str, tuple[str, ...]] = dict.fromkeys(_TABLES, ("SELECT",))

READ = Need(_READ, "pipeline_analyst")
ADD = Need(_READ | {"source_items": ("SELECT", "INSERT", "UPDATE")}, "pipeline_ingest")
EMBED = Need(
    _READ | {"ingest_jobs": ("SELECT", "UPDATE", "DELETE"), "media_roots": ("SELECT",)},
    "pipeline_ingest",
)
REMOVE = Need(_READ | {"source_items": ("SELECT", "UPDATE", "DELETE")}, "pipeline_ingest")
RESCAN = Need(
    {**EMBED.privileges, **REMOVE.privileges, "attached_sources": ("SELECT",)}, "pipeline_ingest"
)
ATTACH = Need(
    _READ | {"attached_sources": ("SELECT", "INSERT", "UPDATE", "DELETE")}, "pipeline_ingest"
)
SYNC = Need(_READ | {"attached_sources": ("SELECT", "UPDATE")}, "pipeline_ingest")
_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
# Folders and prefixes: attached, listed and compared.
FOLLOW = Need(
    {
        **RESCAN.privileges,
        "source_items": _WRITE,
        "attached_sources": _WRITE,
        "attached_objects": _WRITE,
        "attached_listing_pages": _WRITE,
        "attached_source_problems": _WRITE,
        "media_roots": ("SELECT", "INSERT"),
    },
    "pipeline_ingest",
)
SERVE = Need(
    _READ
    | {
        "query_embeddings": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "query_servers": ("SELECT", "INSERT", "DELETE"),
        "query_files": ("SELECT", "UPDATE", "DELETE"),
    },
    "pipeline_ingest",
)
MEASURE = Need(
    _READ
    | {
        "space_evaluations": ("SELECT", "INSERT", "DELETE"),
        "space_tunings": ("SELECT", "INSERT", "UPDATE"),
        "query_embeddings": ("SELECT",),
    },
    "pipeline_ingest",
)
CHANGE = Need({}, None)


@dataclass(frozen=True, slots=True)
class Lack:
    """A right that a login lacks, and who has it. ``cure``: a statement or what to do instead."""

    found: str
    cure: str

    def __str__(self) -> str:
        return f"{self.found}: {self.cure}"


_MISSING = """
WITH asked AS (
    SELECT n, name, privilege FROM unnest(%(tables)s::text[], %(privileges)s::text[])
        WITH ORDINALITY AS u (name, privilege, n)
), missing AS (
    SELECT min(n) AS n, name, string_agg(privilege, ', ' ORDER BY n) AS privileges
    FROM asked WHERE NOT has_table_privilege(to_regclass(name), privilege) GROUP BY name
)
SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(c.relowner)),
    pg_has_role(c.relowner, 'USAGE'),
    ARRAY(SELECT privileges || ' on ' || quote_ident(name) FROM missing ORDER BY n),
    EXISTS (SELECT FROM pg_roles WHERE rolname = %(holder)s) AND NOT EXISTS (
        SELECT FROM missing JOIN asked USING (name), pg_roles AS r WHERE r.rolname = %(holder)s
            AND NOT has_table_privilege(r.oid, to_regclass(name), privilege))
FROM pg_class AS c WHERE c.oid = to_regclass('embedding_spaces')
"""


def lack(connection: Connection, need: Need) -> Lack | None:
    """What this login lacks of what is needed, if anything; the tables are there."""
    asked = [(name, right) for name, rights in need.privileges.items() for right in rights]
    login, owner, owns, missing, holder_may = fetch_one(
        connection.execute(
            _MISSING,
            {
                "tables": [name for name, _ in asked],
                "privileges": [right for _, right in asked],
                "holder": need.holder,
            },
        )
    )
    if owns or (need.holder is not None and not missing):
        return None
    if need.holder is None:
        found = f"{login} lacks ownership of the tables, which {owner} has"
        return Lack(found, f"run it as {owner}")
    if holder_may:
        cure = f"GRANT {need.holder} TO {login}"
        return Lack(f"{login} lacks {_shown(missing)}; the role {need.holder} has it", cure)
    grants = "; ".join(f"GRANT {right.replace(' on ', ' ON ')} TO {login}" for right in missing)
    return Lack(f"{login} lacks {_shown(missing)}, which {owner} has and can give", grants)


_HIDDEN = """
SELECT quote_ident(current_user), quote_ident(n.nspname), quote_ident(pg_get_userbyid(n.nspowner)),
    EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = %(holder)s
        AND has_schema_privilege(r.oid, n.oid, 'USAGE'))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = 'embedding_spaces' AND NOT has_schema_privilege(n.oid, 'USAGE')
"""


def hidden(connection: Connection) -> Lack | None:
    """That the schema of our tables is closed to this login, so that they seem not to be there."""
    row = connection.execute(_HIDDEN, {"holder": READ.holder}).fetchone()
    if row is None:
        return None
    login, schema, owner, holder_may = row
    if holder_may:
        who, cure = f"the role {READ.holder} has it", f"GRANT {READ.holder} TO {login}"
    else:
        who, cure = f"{owner} can give it", f"GRANT USAGE ON SCHEMA {schema} TO {login}"
    return Lack(f"{login} lacks USAGE on the schema {schema}; {who}", cure)


def require(connection: Connection, need: Need) -> None:
    """Refuse a login that lacks some of what is needed.

    Raises:
        DatabaseError: naming the right, who has it and the statement that gives it.
    """
    if found := lack(connection, need):
        raise DatabaseError(str(found))


def may(connection: Connection, table: str, *privileges: str) -> bool:
    """Whether this login has all of these privileges on a table of ours."""
    (allowed,) = fetch_one(
        connection.execute(
            "SELECT bool_and(has_table_privilege(to_regclass(%s), p)) FROM unnest(%s::text[]) AS p",
            (table, list(privileges)),
        )
    )
    return bool(allowed)


def _shown(missing: list[str]) -> str:
    more = f" and on {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{missing[0]}{more}"
