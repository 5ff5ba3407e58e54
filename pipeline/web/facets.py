"""Filters made from the data: which keys of metadata the results have, with which values."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection
from pipeline.web.statement import Statement

# The work is bounded: so many rows, of each metadata of at most so many bytes, elements of a list.
ROWS = 240
MOST_BYTES = 16_000
MOST_ELEMENTS = 20
MOST_KEYS, MOST_VALUES = 6, 8
SECONDS = 2.0

_FACETS = sql.SQL(
    """
    WITH of_rows AS MATERIALIZED (SELECT f.id, f.metadata FROM {found} AS f),
    pairs AS (
        SELECT DISTINCT r.id, e.key, v.value
        FROM of_rows AS r
        CROSS JOIN LATERAL jsonb_each(CASE
            WHEN jsonb_typeof(r.metadata) = 'object' AND pg_column_size(r.metadata) <= %(bytes)s
            THEN r.metadata ELSE '{{}}' END) AS e (key, value)
        CROSS JOIN LATERAL (
            SELECT e.value WHERE jsonb_typeof(e.value) IN ('string', 'number', 'boolean')
            UNION ALL
            (SELECT a.value FROM jsonb_array_elements(CASE WHEN jsonb_typeof(e.value) = 'array'
                 THEN e.value ELSE '[]' END) AS a (value)
             WHERE jsonb_typeof(a.value) IN ('string', 'number', 'boolean')
             LIMIT %(elements)s)
        ) AS v
        WHERE NOT starts_with(e.key, '_') AND length(e.key) BETWEEN 1 AND 40
          AND length(v.value::text) BETWEEN 1 AND 60
    ),
    counted AS (
        SELECT key, value, count(*) AS rows,
            row_number() OVER (PARTITION BY key ORDER BY count(*) DESC, value) AS place,
            count(*) OVER (PARTITION BY key) AS distinct_values,
            sum(count(*)) OVER (PARTITION BY key) AS of_key
        FROM pairs GROUP BY key, value
    )
    SELECT key, value, rows FROM counted
    WHERE distinct_values <= of_key / 2 AND place <= %(values)s
    ORDER BY of_key DESC, key, place
    """
)


@dataclass(frozen=True, slots=True)
class Facet:
    """A key of metadata and its most frequent values, each with how many of the rows have it."""

    key: str
    values: list[tuple[Any, int]]


def facets(connection: Connection, statement: Statement) -> list[Facet]:
    """The keys whose values several of the statement's rows share, most frequent first."""
    rows = allow_packed(connection.cursor()).execute(
        _FACETS.format(found=statement.found),
        {
            **statement.values,
            "bytes": MOST_BYTES,
            "elements": MOST_ELEMENTS,
            "values": MOST_VALUES,
        },
    )
    found: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for key, value, count in rows.fetchall():
        found[key].append((value, count))
    return [Facet(key, values) for key, values in list(found.items())[:MOST_KEYS]]
