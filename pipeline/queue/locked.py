"""Which of a worker's jobs somebody else has locked: an application's transaction, mostly."""

from collections.abc import Sequence

from pipeline.jobs import ClaimedJob, Fence
from pipeline.postgres.arrays import allow_packed, pack_integers
from pipeline.postgres.connections import Connection, fetch_one

_HELD = """
WITH given AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[], %(attempts)s::integer[])
        AS g (source_id, version, attempts)
),
free AS MATERIALIZED (
    SELECT j.source_id FROM given JOIN ingest_jobs AS j USING (source_id, version, attempts)
    WHERE j.space_id = %(space)s AND j.state = 'running' AND j.worker = %(worker)s
    ORDER BY j.source_id FOR UPDATE OF j SKIP LOCKED
)
SELECT j.source_id, j.version, j.attempts::integer, free.source_id IS NULL
FROM given JOIN ingest_jobs AS j USING (source_id, version, attempts)
LEFT JOIN free USING (source_id)
WHERE j.space_id = %(space)s AND j.state = 'running' AND j.worker = %(worker)s
"""


def held(
    connection: Connection, space_id: int, worker: str, jobs: Sequence[ClaimedJob]
) -> dict[Fence, bool]:
    """Those of these claims that the worker still holds, each with whether somebody else has it
    locked at this moment. Waits for nobody."""
    rows = allow_packed(connection.cursor()).execute(
        _HELD,
        {
            "space": space_id,
            "worker": worker,
            "ids": pack_integers([job.source_id for job in jobs]),
            "versions": pack_integers([job.version for job in jobs]),
            "attempts": pack_integers([job.attempts for job in jobs], "integer"),
        },
    )
    return {(source_id, version, attempts): locked for source_id, version, attempts, locked in rows}


def count_held(connection: Connection, space_id: int, worker: str) -> int:
    """How many jobs of the space the worker holds."""
    (count,) = fetch_one(
        connection.execute(
            "SELECT count(*) FROM ingest_jobs "
            "WHERE space_id = %s AND state = 'running' AND worker = %s",
            (space_id, worker),
        )
    )
    return int(count)
