"""Claims of jobs that somebody has answers for already, embedded away from the database."""

from collections.abc import Sequence

from pipeline.jobs import ClaimedJob
from pipeline.postgres.arrays import allow_packed, pack_integers
from pipeline.postgres.connections import Connection
from pipeline.queue.claims import contents_of

_CLAIM = """
WITH sources AS (SELECT FROM source_items),  -- its lock comes before the queue's
candidates AS MATERIALIZED (
    SELECT j.space_id, j.source_id
    FROM unnest(%(ids)s::bigint[], %(versions)s::bigint[]) AS g (source_id, version)
    JOIN ingest_jobs AS j USING (source_id, version)
    WHERE j.space_id = %(space)s AND j.state = 'pending'
    ORDER BY j.source_id
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE ingest_jobs AS j SET
    state = 'running', attempts = j.attempts + 1, worker = %(worker)s,
    leased_until = now() + make_interval(secs => %(lease)s)
FROM candidates AS c
WHERE j.space_id = c.space_id AND j.source_id = c.source_id
RETURNING j.source_id, j.version, j.attempts
"""


def claim_given(
    connection: Connection,
    space_id: int,
    worker: str,
    wanted: Sequence[tuple[int, int]],
    lease_seconds: float,
) -> list[ClaimedJob]:
    """Claim the jobs of these (source item, version) that wait; waits for nobody.

    A job whose source item changed has another version, one that is done is gone, and one that a
    worker holds does not wait: none of them is claimed. Those of a paused space are.
    """
    with connection.transaction():
        # A pause keeps rows from being embedded, not what is embedded from being written.
        connection.execute("SET LOCAL pipeline.is_embedded = 'on'")
        claimed = (
            allow_packed(connection.cursor())
            .execute(
                _CLAIM,
                {
                    "space": space_id,
                    "worker": worker,
                    "lease": lease_seconds,
                    "ids": pack_integers([source_id for source_id, _ in wanted]),
                    "versions": pack_integers([version for _, version in wanted]),
                },
            )
            .fetchall()
        )
        return contents_of(connection, space_id, claimed)
