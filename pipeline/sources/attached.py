"""What is attached: whose each source is, and how it stands."""

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.rights import may


@dataclass(frozen=True, slots=True)
class AttachedSource:
    """A row of ``attached_source_status``, see there.

    Attributes:
        is_location: a folder or a prefix, rather than a table or view.
        owner: of the table or view, who alone may sync it.
        is_ours: whether this login may.
    """

    name: str
    of: str
    capture: str
    rows: int | None
    source_items: int
    pending: int
    failed: int
    synced_at: datetime | None
    needs_sync: bool
    problem: str | None
    is_location: bool
    owner: str | None
    is_ours: bool


_STATUS = """
SELECT t.name, t.of, t.capture, t.rows, t.source_items, t.pending, t.failed, t.synced_at,
    t.needs_sync, t.problem, a.location IS NOT NULL AS is_location,
    pg_get_userbyid(c.relowner)::text AS owner,
    c.oid IS NULL OR pg_get_userbyid(c.relowner) = current_user AS is_ours
FROM attached_source_status AS t JOIN attached_sources AS a USING (name)
LEFT JOIN pg_class AS c ON c.oid = a.relation
WHERE %(name)s::text IS NULL OR a.name = %(name)s ORDER BY a.name
"""


def attached_sources(connection: Connection, name: str | None = None) -> list[AttachedSource]:
    """Everything that is attached, by name, or this one.

    Raises:
        ConfigurationError: nothing of that name is attached.
    """
    with connection.cursor(row_factory=class_row(AttachedSource)) as cursor:
        found = cursor.execute(_STATUS, {"name": name}).fetchall()
    if name is not None and not found:
        names = [source.name for source in attached_sources(connection)]
        there = f"there are: {', '.join(names)}" if names else "nothing is: see `pipeline attach`"
        raise ConfigurationError(f"nothing is attached as {name!r}; {there}")
    return found


_DUE = """
SELECT a.name FROM attached_sources AS a LEFT JOIN pg_class AS c ON c.oid = a.relation
WHERE (%(name)s::text IS NOT NULL OR c.oid IS NULL OR pg_get_userbyid(c.relowner) = current_user)
  AND (%(name)s::text IS NULL OR a.name = %(name)s) AND (a.synced_at IS NULL
    OR a.synced_at <= clock_timestamp() - make_interval(secs =>
        coalesce(CASE WHEN jsonb_typeof(a.definition -> 'every_seconds') = 'number'
            THEN (a.definition ->> 'every_seconds')::double precision END, %(every)s))
    OR EXISTS (SELECT FROM attached_source_problems AS p WHERE p.attachment_id = a.id))
ORDER BY a.synced_at NULLS FIRST, a.name
"""


def due_sources(connection: Connection, every: float, name: str | None = None) -> list[str]:
    """The names of those that want a sync, or had their last so many seconds ago.

    Args:
        every: in seconds, unless one has its own.
        name: of one that is asked after; None: all.
    """
    rows = connection.execute(_DUE, {"name": name, "every": every}).fetchall()
    return [due for (due,) in rows]


def shortest_pause(connection: Connection, name: str | None = None) -> float | None:
    """In seconds, of those that have one of their own."""
    (shortest,) = fetch_one(
        connection.execute(
            "SELECT min((definition ->> 'every_seconds')::double precision) FILTER (WHERE "
            "jsonb_typeof(definition -> 'every_seconds') = 'number') FROM attached_sources "
            "WHERE %(name)s::text IS NULL OR name = %(name)s",
            {"name": name},
        )
    )
    return None if shortest is None else float(shortest)


def owners(connection: Connection, sources: Collection[str]) -> dict[str, str]:
    """Of these values of ``source_items.source`` those that something attached owns: by what.

    A login with single rights that may not read what is attached learns of none.
    """
    if not may(connection, "attached_sources", "SELECT"):
        return {}
    return dict(
        connection.execute(
            """
            SELECT s.source, a.name FROM attached_sources AS a
            CROSS JOIN LATERAL unnest(a.sources) AS s (source)
            WHERE s.source = ANY (%s) ORDER BY s.source
            """,
            (list(sources),),
        ).fetchall()
    )


def check_free(connection: Connection, source: str) -> None:
    """Refuse to write into a source that something attached owns.

    Raises:
        ConfigurationError: naming it.
    """
    if name := owners(connection, [source]).get(source):
        raise ConfigurationError(
            f"the source {source!r} follows what is attached as {name!r}, and its next sync would "
            "undo what others write there; use another source"
        )


def check_may_go(connection: Connection, sources: Collection[str]) -> None:
    """Refuse to remove rows of what is attached, whose next sync would bring them back.

    Raises:
        ConfigurationError: naming it, and what to do instead.
    """
    owned = owners(connection, sources)
    if not owned:
        return
    source, name = next(iter(owned.items()))
    raise ConfigurationError(
        f"rows of the source {source!r} are of what is attached as {name!r}, whose next sync would "
        f"bring them back; nothing was removed: `pipeline detach {shlex.quote(name)}` ends it, and "
        "attached again with a filter (a folder: --exclude) it leaves out what that does"
    )
