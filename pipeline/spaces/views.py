"""Views that depend on the vector column: they block a change of its dimensions, so they are named
and, on request, dropped and made again in the transaction that activates a space."""

from dataclasses import dataclass, field

from psycopg import sql

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection


@dataclass(frozen=True)
class DependentView:
    """A view, and all that belongs to it and goes with it."""

    oid: int
    name: str  # qualified and quoted
    kind: str  # v, or m for a materialized one
    definition: str
    owner: str  # quoted
    options: tuple[str, ...]
    comment: str | None
    extras: int  # triggers, rules and column settings that are not made again
    grants: tuple[str, ...] = field(default=())


# Views that use the column, then views that use those views, as deep as it goes.
_DEPENDENTS = """
WITH RECURSIVE dependents (oid, depth) AS (
    SELECT r.ev_class, 1
    FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = 'multimodal_items'::regclass AND a.attname = 'embedding'
  UNION
    SELECT r.ev_class, depth + 1
    FROM dependents JOIN pg_depend AS d ON d.refobjid = dependents.oid
    JOIN pg_rewrite AS r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND r.ev_class <> dependents.oid
)
SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relkind::text,
    pg_get_viewdef(c.oid), quote_ident(pg_get_userbyid(c.relowner)),
    coalesce(c.reloptions, '{}'), obj_description(c.oid, 'pg_class'),
    (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
        + (SELECT count(*) FROM pg_rewrite AS r
           WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
        + (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
           AND (a.atthasdef OR a.attacl IS NOT NULL)),
    ARRAY (
        SELECT format('GRANT %s ON %I.%I TO %s%s', g.privilege_type, n.nspname, c.relname,
            CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM aclexplode(c.relacl) AS g WHERE g.grantee <> c.relowner
    )
FROM (SELECT oid, max(depth) AS depth FROM dependents GROUP BY oid) AS d
JOIN pg_class AS c ON c.oid = d.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY d.depth, c.oid
"""


def dependent_views(connection: Connection) -> list[DependentView]:
    """Every view that reads the vector column, each after those that it reads itself."""
    rows = connection.execute(_DEPENDENTS).fetchall()
    return [
        DependentView(
            oid, name, kind, definition, owner, tuple(options), comment, extras, tuple(grants)
        )
        for oid, name, kind, definition, owner, options, comment, extras, grants in rows
    ]


def check_recreatable(views: list[DependentView]) -> None:
    """Refuse what cannot be made again in a moment and without a loss.

    Raises:
        SpaceError: naming the views and why.
    """
    for view in views:
        if view.kind != "v":
            raise SpaceError(
                f"{view.name} is a materialized view: filling it again would keep readers waiting; "
                "drop it, activate the space, and create it again"
            )
        if view.extras:
            raise SpaceError(
                f"{view.name} has triggers, rules, defaults or column rights of its own, which "
                "would be lost; drop it, activate the space, and create it again"
            )


def drop_views(connection: Connection, views: list[DependentView]) -> None:
    for view in reversed(views):
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.SQL(view.name)))


def recreate_views(connection: Connection, views: list[DependentView]) -> None:
    """As they were: definition, options, owner, comment and rights. Names were quoted by the
    database itself."""
    for view in views:
        name, options = sql.SQL(view.name), sql.SQL(", ").join(map(sql.SQL, view.options))
        statements: list[sql.SQL | sql.Composed] = [
            sql.SQL("CREATE VIEW {} {} AS {}").format(
                name,
                sql.SQL("WITH ({})").format(options) if view.options else sql.SQL(""),
                sql.SQL(view.definition),
            ),
            sql.SQL("ALTER VIEW {} OWNER TO {}").format(name, sql.SQL(view.owner)),
            *map(sql.SQL, view.grants),
            sql.SQL("COMMENT ON VIEW {} IS {}").format(name, sql.Literal(view.comment)),
        ]
        for statement in statements:
            connection.execute(statement)
