"""Leases that lapsed: jobs go back to the queue, or fail where they are what kills workers."""

from pipeline.postgres.connections import Connection
from pipeline.queue.claims import SUSPECT_AFTER
from pipeline.queue.stale_items import delete_stale

_SWEEP = """
WITH expired AS (
    SELECT space_id, source_id FROM ingest_jobs
    WHERE state = 'running' AND leased_until < now()
    ORDER BY space_id, source_id FOR UPDATE SKIP LOCKED
)
UPDATE ingest_jobs AS j SET
    state = CASE WHEN j.attempts >= %(max_attempts)s AND j.run_after = 'epoch'
        THEN 'failed' ELSE 'pending' END,
    run_after = CASE WHEN j.attempts >= least(%(suspect_after)s, %(max_attempts)s)
        THEN 'epoch' ELSE j.run_after END,
    error_code = 'worker_lost',
    error = 'the worker ' || j.worker || ' stopped without a word while it held this row, '
        || j.attempts || ' time(s) in all; if the row kills it, look at its size and content',
    leased_until = NULL, worker = NULL
FROM expired AS e
WHERE j.space_id = e.space_id AND j.source_id = e.source_id
RETURNING j.space_id, j.source_id, j.state = 'failed' AND j.content_changed
"""


def sweep(connection: Connection, max_attempts: int) -> int:
    """Returns lapsed leases to the queue, where they keep their place; how many.

    A job out of attempts ends in ``failed``, but only if it was claimed alone when its worker was
    lost: before that nobody knows which of the claimed rows is to blame. If its content was
    changed, its old items go, as in ``claims.fail``.
    """
    with connection.transaction():
        rows = connection.execute(
            _SWEEP, {"max_attempts": max_attempts, "suspect_after": SUSPECT_AFTER}
        ).fetchall()
        delete_stale(connection, [row[:2] for row in rows if row[2]])
    return len(rows)
