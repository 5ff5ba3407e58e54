"""What attaching a table or view would make and give, without anything being made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, errors_of_ours, fetch_one
from pipeline.settings import DEFAULT_SCHEMA
from pipeline.sources.attachments import Attachment, attach

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Example:
    """A source item as it would be."""

    source: str
    source_key: str
    modality: str
    content_ref: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preview:
    """What :func:`preview` found.

    Attributes:
        key: the columns that tell the rows apart.
        capture: how changes would be noticed.
        view: the statement that says what source items must hold.
        items_view: the name of the view of its items.
        triggers: the statements that make them; ``N`` stands for the number that it will get.
        rows: how many rows of the table give a source item.
        source_items: by source, how many.
    """

    name: str
    key: tuple[str, ...]
    capture: str
    view: str
    items_view: str
    triggers: tuple[str, ...]
    rows: int
    source_items: Mapping[str, int]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """What stands in the catalogue while it is attached."""

    name: str
    key: list[str]
    capture: str
    view: str
    items_view: str
    triggers: list[str]


_MADE = """
SELECT a.name, a.capture, pg_get_viewdef(a.view) AS view, a.items_view::text AS items_view,
    ARRAY(SELECT jsonb_array_elements_text(a.definition -> 'key')) AS key,
    ARRAY(
        SELECT regexp_replace(
            replace(replace(pg_get_triggerdef(t.oid),
                format('pipeline_source_%%s_', a.id), 'pipeline_source_N_'),
                format('pipeline.source_%%s_', a.id), 'pipeline.source_N_'),
            '[[:space:]]+', ' ', 'g')
        FROM pg_trigger AS t WHERE starts_with(t.tgname, format('pipeline_source_%%s_', a.id))
            AND t.tgparentid = 0
        ORDER BY t.tgrelid::regclass::text, t.oid) AS triggers
FROM {} AS a WHERE a.name = %s
"""
# Names and operators of PostgreSQL's own alone, so that the view is told with every other in full.
_IN_FULL = "SET LOCAL search_path = pg_catalog, pg_temp"


@errors_of_ours()
def preview(
    connection: Connection, attachment: Attachment, *, schema: str = DEFAULT_SCHEMA
) -> Preview:
    """What :func:`~pipeline.sources.attachments.attach` would do.

    It is attached in a transaction that is rolled back, and the rows are counted after that, so
    that who writes into the table waits no longer than for a moment.

    Raises:
        ConfigurationError, DatabaseError: as ``attach`` does.
    """
    with connection.transaction(force_rollback=True), _rows_of(connection, _Made) as cursor:
        name = attach(connection, attachment, schema=schema)
        connection.execute(_IN_FULL)
        made = cursor.execute(
            sql.SQL(_MADE).format(sql.Identifier(schema, "attached_sources")), (name,)
        ).fetchone()
    assert made is not None
    view = sql.SQL(made.view.rstrip().rstrip(";"))
    with connection.transaction(), _rows_of(connection, Example) as cursor:
        connection.execute(_IN_FULL)
        rows, counts = fetch_one(connection.execute(sql.SQL(_COUNT).format(view)))
        examples = cursor.execute(sql.SQL(_EXAMPLES).format(view, EXAMPLES)).fetchall()
    return Preview(
        made.name,
        tuple(made.key),
        made.capture,
        made.view.strip(),
        made.items_view,
        tuple(made.triggers),
        int(rows),
        counts or {},
        tuple(examples),
    )


_COUNT = """
WITH of_a_source AS MATERIALIZED (SELECT v.source, v.row_key FROM ({}) AS v)
SELECT count(DISTINCT o.row_key),
    (SELECT jsonb_object_agg(s.source, s.items)
     FROM (SELECT source, count(*) AS items FROM of_a_source GROUP BY source) AS s)
FROM of_a_source AS o
"""
_EXAMPLES = """
SELECT v.source, v.source_key, v.modality, v.content_ref, v.metadata FROM ({}) AS v LIMIT {}
"""


def _rows_of(connection: Connection, kind: type[Any]) -> psycopg.Cursor[Any]:
    return connection.cursor(row_factory=class_row(kind))
