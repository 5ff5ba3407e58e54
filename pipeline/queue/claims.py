"""The queue in PostgreSQL: claim, heartbeat, release, fail, sweep.

A job is one source item to embed into one space. A claim is a lease: ``worker`` holds the job
until ``leased_until``, prolonged by heartbeats. Three values fence every later step: the job's
``version`` (new whenever the source item changes), its ``attempts`` (new at every claim) and the
``worker`` (new at every start of a process). A step whose fence no longer holds touches no row.

Nothing here waits for a job that somebody else has locked: an application whose transaction changes
source items holds their jobs, in the order of its own statements, and would lose to a deadlock.
What was skipped is done a little later, see ``locked.py``. Locks on tables are taken in one order:
first the source items (as TRUNCATE on them does), then jobs, then items.

Finishing a job is part of writing its items: see ``pipeline/spaces/items.py``.
"""

import os
import socket
import uuid
from collections.abc import Sequence

from pipeline.errors import RowError
from pipeline.jobs import ClaimedJob
from pipeline.postgres.arrays import allow_packed, pack_integers
from pipeline.postgres.connections import Connection
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.postgres.session import held
from pipeline.queue.backoff import Backoff
from pipeline.queue.bounds import DEFAULT, ClaimBounds
from pipeline.queue.messages import storable
from pipeline.queue.stale_items import delete_stale

# A job lost with its worker this often is a suspect: it may be what kills them. Its ``run_after``
# is the epoch then, which the index of pending jobs puts first, and a claim of it is a claim of it
# alone.
SUSPECT_AFTER = 2


def new_worker_id() -> str:
    """Unique per start of a process: a process that comes back never passes for its former self."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


# Measuring a text reads none of it: its length stands beside the pointer to it. Of metadata only
# the stored size does, perhaps a compressed one, so it counts where it is small. The LIMIT keeps
# the planner from reading all source items instead of those few.
_CLAIM = """
WITH sources AS (SELECT FROM source_items),  -- its lock comes before the queue's
candidates AS MATERIALIZED (
    SELECT space_id, source_id FROM ingest_jobs
    WHERE space_id = %(space)s AND state = 'pending'
      AND run_after > %(after)s::timestamptz AND run_after <= %(until)s::timestamptz
    ORDER BY run_after, source_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
measured AS (
    SELECT c.space_id, c.source_id, row_number() OVER earlier AS place,
        coalesce(sum(s.bytes) OVER earlier, 0) AS bytes
    FROM candidates AS c LEFT JOIN LATERAL (
        SELECT CASE WHEN octet_length(s.content_ref) <= CASE WHEN s.modality = ANY (
                ARRAY (SELECT k.name FROM known_modalities AS k WHERE k.inline))
                THEN %(most_text)s ELSE %(most_reference)s END
                THEN octet_length(s.content_ref) ELSE 0 END
            + CASE WHEN pg_column_size(s.metadata) < 1000 THEN pg_column_size(s.metadata)
                ELSE octet_length(s.metadata::text) END AS bytes
        FROM source_items AS s WHERE s.id = c.source_id LIMIT 1
    ) AS s ON true
    WINDOW earlier AS (ROWS UNBOUNDED PRECEDING)  -- in the order in which they were found
)
UPDATE ingest_jobs AS j SET
    state = 'running', attempts = j.attempts + 1, worker = %(worker)s,
    leased_until = now() + make_interval(secs => %(lease)s)
FROM measured AS m
WHERE j.space_id = m.space_id AND j.source_id = m.source_id
  AND (m.place = 1 OR m.bytes <= %(bytes)s)
RETURNING j.source_id, j.version, j.attempts
"""

# From when to when a job has become due: the suspects, and all others.
_SUSPECTS = {"after": "-infinity", "until": "epoch"}
_OTHERS = {"after": "epoch", "until": "now"}

_CLAIMED = """
SELECT s.id AS source_id, c.version, c.attempts, s.modality,
    CASE WHEN length.ref <= length.most THEN s.content_ref ELSE '' END, s.metadata::text,
    length.ref, length.most
FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[], %(attempts)s::integer[])
    AS c (source_id, version, attempts)
JOIN source_items AS s ON s.id = c.source_id
LEFT JOIN known_modalities AS k ON k.name = s.modality
CROSS JOIN LATERAL (SELECT octet_length(s.content_ref) AS ref,
    CASE WHEN k.inline THEN %(most_text)s ELSE %(most_reference)s END::bigint AS most) AS length
ORDER BY s.id
"""


def claim(
    connection: Connection,
    space_id: int,
    worker: str,
    limit: int,
    lease_seconds: float,
    *,
    suspects: bool = False,
    bounds: ClaimBounds = DEFAULT,
) -> list[ClaimedJob]:
    """No two workers hold the same job while its lease lives; at most ``limit`` are claimed, and no
    more than fit into ``bounds``.

    Jobs lost with their workers :data:`SUSPECT_AFTER` times are suspects: one of them may kill
    whoever holds it. They are claimed only where ``suspects`` asks for them, so that a worker can
    take them one at a time and the innocent ones are not blamed for the guilty one.

    The candidates are materialised, since the planner may run a plain ``IN (SELECT ... LIMIT)``
    once per row (seen: 200 rows for a limit of 5). The content is read by a second statement of
    the same transaction, after the jobs are locked: in one statement an update that commits
    between snapshot and lock would pair the new version with the old content. A job whose source
    item is gone (a space was created while it was being deleted) goes as well.
    """
    most = {"most_text": bounds.text_bytes, "most_reference": bounds.reference_bytes}
    with connection.transaction():
        given = {"space": space_id, "worker": worker, "limit": limit, "lease": lease_seconds}
        among = _SUSPECTS if suspects else _OTHERS
        rows = connection.execute(
            _CLAIM, {**given, **among, **most, "bytes": bounds.bytes}
        ).fetchall()
        return contents_of(connection, space_id, rows, bounds)


def contents_of(
    connection: Connection,
    space_id: int,
    rows: Sequence[tuple[int, int, int]],
    bounds: ClaimBounds = DEFAULT,
) -> list[ClaimedJob]:
    """Jobs locked by this transaction, as (source item, version, attempts), with their content.

    A job whose source item is gone goes as well.
    """
    if not rows:
        return []
    ids, versions, attempts = (list(column) for column in zip(*rows, strict=True))
    with connection.cursor() as cursor:
        contents = allow_packed(cursor).execute(
            _CLAIMED,
            {
                "most_text": bounds.text_bytes,
                "most_reference": bounds.reference_bytes,
                "ids": pack_integers(ids),
                "versions": pack_integers(versions),
                "attempts": pack_integers(attempts, "integer"),
            },
        )
        claimed = [ClaimedJob(space_id, *row) for row in contents]
    if len(claimed) < len(ids):
        check_sees_all_rows(connection)  # what is hidden is not gone
        orphans = list(set(ids) - {job.source_id for job in claimed})
        connection.execute(
            "DELETE FROM ingest_jobs WHERE space_id = %s AND source_id = ANY (%s)",
            (space_id, orphans),
        )
    return claimed


_HEARTBEAT = """
UPDATE ingest_jobs SET leased_until = now() + make_interval(secs => %(lease)s)
WHERE (space_id, source_id) IN (
    SELECT j.space_id, j.source_id FROM ingest_jobs AS j
    WHERE j.space_id = %(space)s AND j.source_id = ANY (%(ids)s)
      AND j.state = 'running' AND j.worker = %(worker)s
    ORDER BY j.source_id FOR UPDATE SKIP LOCKED
)
"""


def heartbeat(
    connection: Connection,
    space_id: int,
    worker: str,
    source_ids: Sequence[int],
    lease_seconds: float,
) -> int:
    """Prolongs the leases that this worker still holds; returns how many."""
    return connection.execute(
        _HEARTBEAT,
        {"space": space_id, "worker": worker, "ids": list(source_ids), "lease": lease_seconds},
    ).rowcount


_RELEASE = """
UPDATE ingest_jobs SET state = 'pending', attempts = greatest(attempts - 1, 0),
    leased_until = NULL, worker = NULL
WHERE (space_id, source_id) IN (
    SELECT j.space_id, j.source_id FROM ingest_jobs AS j
    WHERE j.space_id = %(space)s AND j.state = 'running' AND j.worker = %(worker)s
      AND (%(ids)s::bigint[] IS NULL OR j.source_id = ANY (%(ids)s::bigint[]))
    ORDER BY j.source_id FOR UPDATE SKIP LOCKED
)
"""


def release(
    connection: Connection, space_id: int, worker: str, source_ids: Sequence[int] | None = None
) -> int:
    """Gives jobs back untouched, all of the worker's or these, but for those that somebody else has
    locked; the attempt does not count. Returns how many."""
    ids = None if source_ids is None else list(source_ids)
    return connection.execute(_RELEASE, {"space": space_id, "worker": worker, "ids": ids}).rowcount


_FAIL = """
WITH held AS (
    SELECT j.space_id, j.source_id, f.code, f.error, f.permanent, f.of_content, f.delay
    FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[], %(attempts)s::integer[],
                %(codes)s::text[], %(errors)s::text[], %(permanent)s::boolean[],
                %(of_content)s::boolean[], %(delays)s::double precision[])
        AS f (source_id, version, attempts, code, error, permanent, of_content, delay)
    JOIN ingest_jobs AS j USING (source_id, version, attempts)
    WHERE j.space_id = %(space)s AND j.state = 'running' AND j.worker = %(worker)s
    ORDER BY j.source_id FOR UPDATE OF j SKIP LOCKED
)
UPDATE ingest_jobs AS j SET
    state = CASE WHEN held.permanent OR j.attempts >= %(max_attempts)s
        THEN 'failed' ELSE 'pending' END,
    error_code = held.code, error = held.error,
    run_after = now() + make_interval(secs => held.delay),
    leased_until = NULL, worker = NULL
FROM held
WHERE j.space_id = held.space_id AND j.source_id = held.source_id
RETURNING j.source_id, j.state, j.state = 'failed' AND (j.content_changed OR held.of_content)
"""


def fail(
    connection: Connection,
    space_id: int,
    worker: str,
    failures: Sequence[tuple[ClaimedJob, RowError]],
    *,
    max_attempts: int,
    backoff: Backoff,
) -> dict[int, str]:
    """Records failures of jobs still held that nobody else has locked, and nothing of others;
    returns the new state of each.

    A permanent error, or the last attempt, ends in ``failed``; any other goes back to ``pending``
    after a delay: the back-off, or what the error itself asks for where that is longer.

    With what ends in ``failed`` go, in the same transaction, the items that the row had in this
    space, where they are known to say what is no longer so: its content was changed since, or what
    its reference leads to was loaded and is other content. A reference that is the same and merely
    leads nowhere leaves them: a host or a disk may come back.
    """
    if not failures:
        return {}
    with connection.transaction():
        rows = connection.execute(
            _FAIL,
            {
                "space": space_id,
                "worker": worker,
                "max_attempts": max_attempts,
                "ids": [job.source_id for job, _ in failures],
                "versions": [job.version for job, _ in failures],
                "attempts": [job.attempts for job, _ in failures],
                "codes": [error.code for _, error in failures],
                "errors": [held(connection, storable(error.message)) for _, error in failures],
                "permanent": [error.permanent for _, error in failures],
                "of_content": [error.of_content for _, error in failures],
                "delays": [
                    max(backoff.delay(job.attempts), getattr(error, "retry_after", None) or 0.0)
                    for job, error in failures
                ],
            },
        ).fetchall()
        delete_stale(connection, [(space_id, row[0]) for row in rows if row[2]])
    return {source_id: state for source_id, state, _ in rows}
