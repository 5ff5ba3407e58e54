"""What attaching a table or view would make and give, without anything being made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, errors_of_ours, fetch_one
from pipeline.settings import DEFAULT_SCHEMA
from pipeline.sources.attached_sync import told_problems
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
        examples: none where some rows cannot be read.
        problems: rows that cannot be read, a sentence each.
        advice: what to do about them.
    """

    name: str
    key: tuple[str, ...]
    capture: str
    view: str
    items_view: str
    triggers: tuple[str, ...]
    rows: int
    source_items: Mapping[str, int]
    examples: tuple[Example, ...] = ()
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


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
    found = _given(connection, sql.SQL(made.view.rstrip().rstrip(";")), schema)
    found = found or _given_by_readable(connection, attachment, schema)
    return Preview(
        made.name,
        tuple(made.key),
        made.capture,
        made.view.strip(),
        made.items_view,
        tuple(made.triggers),
        found.rows,
        found.source_items,
        found.examples,
        found.problems,
        found.advice,
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What the rows give, as :class:`Preview` has it."""

    rows: int
    source_items: dict[str, int]
    examples: tuple[Example, ...] = ()
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def _given(connection: Connection, view: sql.SQL, schema: str) -> _Given | None:
    """Of the view; None: some rows cannot be read."""
    try:
        with connection.transaction(), _rows_of(connection, Example) as cursor:
            connection.execute(_IN_FULL)
            rows, counts = fetch_one(connection.execute(sql.SQL(_COUNT).format(view)))
            examples = cursor.execute(sql.SQL(_EXAMPLES).format(view, EXAMPLES)).fetchall()
    except psycopg.Error as exc:
        of_a_row = sql.SQL("SELECT {}(%s)").format(sql.Identifier(schema, "is_error_of_a_row"))
        if connection.closed or not fetch_one(connection.execute(of_a_row, (exc.sqlstate,)))[0]:
            raise
        return None
    return _Given(int(rows), counts or {}, tuple(examples))


def _given_by_readable(connection: Connection, attachment: Attachment, schema: str) -> _Given:
    """Row by row where it must be. It is attached once more, without triggers, since these would
    have whoever writes wait until all rows were looked at."""
    count = sql.SQL("SELECT c.rows, c.of_sources FROM {} AS a, LATERAL {}(a.id) AS c "
                    "WHERE a.name = %s").format(
        sql.Identifier(schema, "attached_sources"), sql.Identifier(schema, "count_readable")
    )  # fmt: skip
    scanned = replace(attachment, capture="scan", depends_on=())
    with connection.transaction(force_rollback=True), told_problems(connection) as told:
        connection.execute("SET LOCAL client_min_messages = error")  # said before
        name = attach(connection, scanned, schema=schema)
        connection.execute("SET LOCAL client_min_messages = notice")
        rows, counts = fetch_one(connection.execute(count, (name,)))
    return _Given(int(rows), counts, (), told.problems, told.advice)


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
