"""The rows that failed, off the view ``ingest_failures``, and as they may be shown to people."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.queue.cures import CURES
from pipeline.queue.notifications import CHANNEL
from pipeline.references import redact


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs of one code, with one of them as an example."""

    code: str
    count: int
    source_id: int
    source: str
    source_key: str
    content_ref: str
    error: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed job."""

    source_id: int
    source: str
    source_key: str
    content_ref: str
    code: str
    error: str
    attempts: int


_GROUPS = """
SELECT error_code AS code, count(*) AS count,
    (array_agg(source_id ORDER BY source_id))[1] AS source_id,
    (array_agg(source ORDER BY source_id))[1] AS source,
    (array_agg(source_key ORDER BY source_id))[1] AS source_key,
    (array_agg(content_ref ORDER BY source_id))[1] AS content_ref,
    (array_agg(error ORDER BY source_id))[1] AS error
FROM ingest_failures
WHERE space = (SELECT name FROM embedding_spaces WHERE id = %s) AND state = 'failed'
GROUP BY error_code ORDER BY count(*) DESC, error_code
"""


def grouped(connection: Connection, space_id: int) -> list[FailureGroup]:
    """Failed jobs of the space, grouped by code, most first."""
    with connection.cursor(row_factory=class_row(FailureGroup)) as cursor:
        return cursor.execute(_GROUPS, (space_id,)).fetchall()


_ROWS = """
SELECT source_id, source, source_key, content_ref, error_code AS code, error, attempts
FROM ingest_failures
WHERE space = (SELECT name FROM embedding_spaces WHERE id = %s) AND state = 'failed'
ORDER BY source_id LIMIT %s
"""


def failed_rows(connection: Connection, space_id: int, limit: int) -> list[Failure]:
    """The first ``limit`` failed jobs of the space, row by row."""
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        return cursor.execute(_ROWS, (space_id, limit)).fetchall()


def explained(found: Sequence[Failure | FailureGroup]) -> list[dict[str, Any]]:
    """As they may be shown: what to do next, and no secret in what may be a URL."""
    return [
        asdict(failure)
        | {
            "source_key": redact(failure.source_key),
            "content_ref": redact(failure.content_ref),
            "next": CURES.get(failure.code, "see docs/errors.md"),
        }
        for failure in found
    ]


_RETRY = """
UPDATE ingest_jobs SET state = 'pending', attempts = 0, run_after = now(),
    error_code = NULL, error = NULL, version = nextval('ingest_job_versions')
WHERE (space_id, source_id) IN (
    SELECT space_id, source_id FROM ingest_jobs
    WHERE state = 'failed'
      AND (%(space)s::integer IS NULL OR space_id = %(space)s)
      AND (%(code)s::text IS NULL OR error_code = %(code)s)
      AND (%(ids)s::bigint[] IS NULL OR source_id = ANY (%(ids)s::bigint[]))
    ORDER BY space_id, source_id FOR UPDATE SKIP LOCKED
)
"""


def retry(
    connection: Connection,
    *,
    space_id: int | None = None,
    code: str | None = None,
    source_ids: Sequence[int] | None = None,
) -> int:
    """Brings failed jobs back as new, all or those of a code or of these rows; how many.

    Not those that somebody else has locked: whoever changes a row brings it back himself.
    """
    ids = None if source_ids is None else list(source_ids)
    count = connection.execute(_RETRY, {"space": space_id, "code": code, "ids": ids}).rowcount
    if count:
        # A full queue, which is anybody's, would fail the transaction.
        connection.execute(
            "SELECT pg_notify(%s, '') WHERE pg_notification_queue_usage() < 0.5", (CHANNEL,)
        )
    return count


def names(connection: Connection, source_ids: Sequence[int]) -> dict[int, str]:
    """What people call these rows, for a log line: number, source and key."""
    rows = connection.execute(
        "SELECT id, source, source_key FROM source_items WHERE id = ANY (%s)", (list(source_ids),)
    ).fetchall()
    return {
        source_id: f"source item {source_id} ({source}, {redact(key)})"
        for source_id, source, key in rows
    }
