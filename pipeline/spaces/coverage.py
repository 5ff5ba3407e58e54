"""How much of the source a space covers: what building has reached, and what activating needs."""

from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from pipeline.modalities import MODALITIES
from pipeline.postgres.connections import Connection
from pipeline.spaces.space import Space, find_active


@dataclass(frozen=True, slots=True)
class Coverage:
    """Source items by what the space has of them; every source item counts once.

    Attributes:
        done: with items as of the present content.
        pending: with a job that waits or runs; it may have an item of older content.
        failed: given up here, though the active space has them.
        excused: given up here, and the active space (or nobody, without one) has them either.
        lost: with neither item nor job; ``enqueue_missing`` brings them back.
    """

    source_items: int
    done: int
    pending: int
    failed: int
    excused: int
    lost: int

    @property
    def share(self) -> float:
        """From 0 to 1; 1 when activating loses nothing that could be found before."""
        wanted = self.source_items - self.excused
        return 1.0 if wanted == 0 else self.done / wanted

    def __str__(self) -> str:
        parts = [f"{self.share:.2%} of {self.source_items - self.excused} source items"]
        parts += [
            f"{count} {name}"
            for name, count in (
                ("pending", self.pending),
                ("failed", self.failed),
                ("without a job", self.lost),
            )
            if count
        ]
        return ", ".join(parts)


def coverage(connection: Connection, space: Space) -> Coverage:
    """Counted in one snapshot; reads every source item's key once."""
    active = find_active(connection)
    elsewhere = active.id if active is not None and active.id != space.id else None
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT source_id FROM {} WHERE part = 0").format(space.table(modality))
        for modality in MODALITIES
    )
    query = sql.SQL(
        """
        WITH state AS (
            SELECT coalesce(j.state, CASE WHEN i.source_id IS NULL THEN 'lost' ELSE 'done' END)
                    AS state,
                %(elsewhere)s::integer IS NULL OR other.state IS NOT DISTINCT FROM 'failed'
                    AS missing_elsewhere
            FROM source_items AS s
            LEFT JOIN ingest_jobs AS j ON j.space_id = %(space)s AND j.source_id = s.id
            LEFT JOIN ingest_jobs AS other
                ON other.space_id = %(elsewhere)s AND other.source_id = s.id
            LEFT JOIN (SELECT DISTINCT source_id FROM ({items}) AS every) AS i
                ON i.source_id = s.id
        )
        SELECT count(*) AS source_items,
            count(*) FILTER (WHERE state = 'done') AS done,
            count(*) FILTER (WHERE state IN ('pending', 'running')) AS pending,
            count(*) FILTER (WHERE state = 'failed' AND NOT missing_elsewhere) AS failed,
            count(*) FILTER (WHERE state = 'failed' AND missing_elsewhere) AS excused,
            count(*) FILTER (WHERE state = 'lost') AS lost
        FROM state
        """
    ).format(items=items)
    with connection.cursor(row_factory=class_row(Coverage)) as cursor:
        row = cursor.execute(query, {"space": space.id, "elsewhere": elsewhere}).fetchone()
    assert row is not None
    return row
