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

from psycopg import sql

from pipeline.errors import RowError
from pipeline.jobs import ClaimedJob
from pipeline.postgres.arrays import allow_packed, pack_integers
from pipeline.postgres.connections import Connection
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.postgres.session import held
from pipeline.queue.backoff import Backoff

CHANNEL = "ingest_jobs"

# A job lost with its worker this often is a suspect: it may be what kills them. Its ``run_after``
# is the epoch then, which the index of pending jobs puts first, and a claim of it is a claim of it
# alone.
SUSPECT_AFTER = 2


def new_worker_id() -> str:
    """Unique per start of a process: a process that comes back never passes for its former self."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


_CLAIM = """
WITH sources AS (SELECT FROM source_items),  -- not read here: its lock comes before the queue's
candidates AS MATERIALIZED (
    SELECT space_id, source_id FROM ingest_jobs
    WHERE space_id = %(space)s AND state = 'pending'
      AND run_after > %(after)s::timestamptz AND run_after <= %(until)s::timestamptz
    ORDER BY run_after, source_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE ingest_jobs AS j SET
    state = 'running', attempts = j.attempts + 1, worker = %(worker)s,
    leased_until = now() + make_interval(secs => %(lease)s)
FROM candidates AS c
WHERE j.space_id = c.space_id AND j.source_id = c.source_id
RETURNING j.source_id, j.version, j.attempts
"""

# From when to when a job has become due: the suspects, and all others.
_SUSPECTS = {"after": "-infinity", "until": "epoch"}
_OTHERS = {"after": "epoch", "until": "now"}

_CLAIMED = """
SELECT s.id AS source_id, c.version, c.attempts, s.modality, s.content_ref, s.metadata::text
FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[], %(attempts)s::integer[])
    AS c (source_id, version, attempts)
JOIN source_items AS s ON s.id = c.source_id
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
) -> list[ClaimedJob]:
    """No two workers hold the same job while its lease lives; at most ``limit`` are claimed.

    Jobs lost with their workers :data:`SUSPECT_AFTER` times are suspects: one of them may kill
    whoever holds it. They are claimed only where ``suspects`` asks for them, so that a worker can
    take them one at a time and the innocent ones are not blamed for the guilty one.

    The candidates are materialised, since the planner may run a plain ``IN (SELECT ... LIMIT)``
    once per row (seen: 200 rows for a limit of 5). The content is read by a second statement of
    the same transaction, after the jobs are locked: in one statement an update that commits
    between snapshot and lock would pair the new version with the old content. A job whose source
    item is gone (a space was created while it was being deleted) goes as well.
    """
    with connection.transaction():
        rows = connection.execute(
            _CLAIM,
            {
                "space": space_id,
                "worker": worker,
                "limit": limit,
                "lease": lease_seconds,
                **(_SUSPECTS if suspects else _OTHERS),
            },
        ).fetchall()
        if not rows:
            return []
        ids, versions, attempts = (list(column) for column in zip(*rows, strict=True))
        with connection.cursor() as cursor:
            contents = allow_packed(cursor).execute(
                _CLAIMED,
                {
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
    SELECT j.space_id, j.source_id, f.code, f.error, f.permanent, f.delay
    FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[], %(attempts)s::integer[],
                %(codes)s::text[], %(errors)s::text[], %(permanent)s::boolean[],
                %(delays)s::double precision[])
        AS f (source_id, version, attempts, code, error, permanent, delay)
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
RETURNING j.source_id, j.state
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
    """
    if not failures:
        return {}
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
            "delays": [
                max(backoff.delay(job.attempts), getattr(error, "retry_after", None) or 0.0)
                for job, error in failures
            ],
        },
    ).fetchall()
    return dict(rows)


def storable(message: str, limit: int = 500) -> str:
    """A message as it may enter the error column: bounded, and nothing PostgreSQL refuses."""
    clean = message.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


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
RETURNING j.source_id
"""


def sweep(connection: Connection, max_attempts: int) -> int:
    """Returns lapsed leases to the queue, where they keep their place; how many.

    A job out of attempts ends in ``failed``, but only if it was claimed alone when its worker was
    lost: before that nobody knows which of the claimed rows is to blame.
    """
    return connection.execute(
        _SWEEP, {"max_attempts": max_attempts, "suspect_after": SUSPECT_AFTER}
    ).rowcount


def is_due(connection: Connection, space_id: int, *, suspects: bool = False) -> bool:
    """Whether a job waits that may be claimed now: any, or only one of the suspects."""
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM ingest_jobs
            WHERE space_id = %s AND state = 'pending' AND run_after <= %s::timestamptz)
        """,
        (space_id, "epoch" if suspects else "now"),
    ).fetchone()
    return bool(row and row[0])


def wait_for_jobs(connection: Connection, seconds: float) -> bool:
    """Whether a notification says that there are new jobs, waiting so long for one."""
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
    return any(connection.notifies(timeout=seconds, stop_after=1))
