"""How far the demonstration's own rows are, apart from those that people have put beside them."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.demo.manifest import SOURCE
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space


@dataclass(frozen=True)
class Progress:
    """Rows of the source table in one space.

    Attributes:
        embedded: samples, images and captions, that are embedded.
        waiting: samples that are still to be embedded.
        failed: samples that cannot be.
        others: rows of other sources.
        others_open: those of them that are not embedded, whatever the reason.
    """

    embedded: int
    waiting: int
    failed: int
    others: int
    others_open: int


_PROGRESS = """
SELECT count(*) FILTER (WHERE sample AND state IS NULL) AS embedded,
    count(*) FILTER (WHERE sample AND state <> 'failed') AS waiting,
    count(*) FILTER (WHERE sample AND state = 'failed') AS failed,
    count(*) FILTER (WHERE NOT sample) AS others,
    count(*) FILTER (WHERE NOT sample AND state IS NOT NULL) AS others_open
FROM (
    SELECT item.source = %s AS sample, job.state
    FROM source_items AS item
    LEFT JOIN ingest_jobs AS job ON job.source_id = item.id AND job.space_id = %s
) AS rows
"""


def progress(connection: Connection, space: Space) -> Progress:
    """All of it in one snapshot. A row without a job is embedded: a finished job is deleted."""
    with connection.cursor(row_factory=class_row(Progress)) as cursor:
        return fetch_one(cursor.execute(_PROGRESS, (SOURCE, space.id)))
