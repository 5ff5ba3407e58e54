"""The rows that failed, off the view ``ingest_failures``, and as they may be shown to people."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.queue.cures import CURES
from pipeline.queue.messages import storable
from pipeline.queue.news import announce_jobs
from pipeline.references import redact


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs of one code, with the first of them as an example; ``content_ref`` is the
    beginning of its reference, which has ``content_bytes`` in all."""

    code: str
    count: int
    source_id: int
    source: str
    source_key: str
    content_ref: str
    content_bytes: int
    error: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed job; ``content_ref`` is the beginning of its reference, which has
    ``content_bytes`` in all."""

    source_id: int
    source: str
    source_key: str
    content_ref: str
    content_bytes: int
    code: str
    error: str
    attempts: int


_GROUPS = """
WITH failed AS (
    SELECT error_code, count(*) AS count, min(source_id) AS source_id FROM ingest_failures
    WHERE space = (SELECT name FROM embedding_spaces WHERE id = %(space)s) AND state = 'failed'
    GROUP BY error_code
)
SELECT g.error_code AS code, g.count, g.source_id, f.source, f.source_key,
    left(f.content_ref, 10000) AS content_ref, octet_length(f.content_ref) AS content_bytes, f.error
FROM failed AS g
JOIN ingest_failures AS f ON f.source_id = g.source_id
    AND f.space = (SELECT name FROM embedding_spaces WHERE id = %(space)s)
ORDER BY g.count DESC, g.error_code
"""


def grouped(connection: Connection, space_id: int) -> list[FailureGroup]:
    """Failed jobs of the space, grouped by code, most first."""
    with connection.cursor(row_factory=class_row(FailureGroup)) as cursor:
        return cursor.execute(_GROUPS, {"space": space_id}).fetchall()


_ROWS = """
SELECT source_id, source, source_key, left(content_ref, 10000) AS content_ref,
    octet_length(content_ref) AS content_bytes, error_code AS code, error, attempts
FROM ingest_failures
WHERE space = (SELECT name FROM embedding_spaces WHERE id = %s) AND state = 'failed'
ORDER BY source_id LIMIT %s
"""


def failed_rows(connection: Connection, space_id: int, limit: int) -> list[Failure]:
    """The first ``limit`` failed jobs of the space, row by row."""
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        return cursor.execute(_ROWS, (space_id, limit)).fetchall()


_OF_CODE = """
SELECT source_id, source, source_key, left(content_ref, 10000) AS content_ref,
    octet_length(content_ref) AS content_bytes, error_code AS code, error, attempts
FROM ingest_failures
WHERE space = %s AND state = 'failed' AND error_code = %s AND source_id > %s
ORDER BY source_id LIMIT %s
"""


def failed_with(
    connection: Connection, space: str, code: str, *, after: int, limit: int
) -> list[Failure]:
    """The next failed jobs of a code, by source item; of the space of that name."""
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        return cursor.execute(_OF_CODE, (space, code, after, limit)).fetchall()


def explained(found: Sequence[Failure | FailureGroup]) -> list[dict[str, Any]]:
    """As they may be shown: what to do next, and no secret in what may be a URL."""
    rows = []
    for failure in found:
        row = asdict(failure)
        size = row.pop("content_bytes")
        row["source"], row["source_key"] = redact(failure.source), redact(failure.source_key)
        row["content_ref"] = redact(failure.content_ref, size)
        row["error"] = storable(failure.error)  # an older release may have stored more
        rows.append(row | {"next": CURES.get(failure.code, "see docs/errors.md")})
    return rows


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
        announce_jobs(connection)
    return count


def names(connection: Connection, source_ids: Sequence[int]) -> dict[int, str]:
    """What people call these rows, for a log line: number, source and key."""
    rows = connection.execute(
        "SELECT id, source, source_key FROM source_items WHERE id = ANY (%s)", (list(source_ids),)
    ).fetchall()
    return {
        source_id: f"source item {source_id} ({redact(source)}, {redact(key)})"
        for source_id, source, key in rows
    }
