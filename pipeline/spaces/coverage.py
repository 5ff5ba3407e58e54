"""How much of the source a space covers: what building has reached, and what activating needs."""

from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces.space import Space, find_active


@dataclass(frozen=True, slots=True)
class Coverage:
    """Source items by what the space has of them; every one counts once that could be found.

    Those of a modality that neither this space nor the active one has are not counted at all.

    Attributes:
        source_items: how many there are of the space's modalities, or of the active space's.
        done: with items as of the present content.
        pending: with a job that waits or runs; it may have an item of older content.
        failed: given up here, though the active space has them.
        excused: given up here, and the active space (or nobody, without one) lacks them as well.
        lost: with neither item nor job; ``enqueue_missing`` brings them back.
        foreign: of a modality that the active space has and this one lacks.
    """

    source_items: int
    done: int
    pending: int
    failed: int
    excused: int
    lost: int
    foreign: int = 0

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
                ("of a modality that its model lacks", self.foreign),
            )
            if count
        ]
        return ", ".join(parts)


def coverage(connection: Connection, space: Space) -> Coverage:
    """Counted in one snapshot; reads every source item's key once."""
    active = find_active(connection)
    other = active if active is not None and active.id != space.id else None
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT source_id FROM {} WHERE part = 0").format(space.table(modality))
        for modality in space.modalities
    )
    query = sql.SQL(
        """
        WITH state AS (
            SELECT CASE WHEN s.modality = ANY (%(modalities)s) THEN
                    coalesce(j.state, CASE WHEN i.source_id IS NULL THEN 'lost' ELSE 'done' END)
                    ELSE 'foreign' END AS state,
                %(elsewhere)s::integer IS NULL OR other.state IS NOT DISTINCT FROM 'failed'
                    OR s.modality <> ALL (%(others)s) AS missing_elsewhere
            FROM source_items AS s
            LEFT JOIN ingest_jobs AS j ON j.space_id = %(space)s AND j.source_id = s.id
            LEFT JOIN ingest_jobs AS other
                ON other.space_id = %(elsewhere)s AND other.source_id = s.id
            LEFT JOIN (SELECT DISTINCT source_id FROM ({items}) AS every) AS i
                ON i.source_id = s.id
            WHERE s.modality = ANY (%(modalities)s) OR s.modality = ANY (%(others)s)
        )
        SELECT count(*) AS source_items,
            count(*) FILTER (WHERE state = 'done') AS done,
            count(*) FILTER (WHERE state IN ('pending', 'running')) AS pending,
            count(*) FILTER (WHERE state = 'failed' AND NOT missing_elsewhere) AS failed,
            count(*) FILTER (WHERE state IN ('failed', 'foreign') AND missing_elsewhere)
                AS excused,
            count(*) FILTER (WHERE state = 'lost') AS lost,
            count(*) FILTER (WHERE state = 'foreign' AND NOT missing_elsewhere) AS "foreign"
        FROM state
        """
    ).format(items=items)
    with connection.cursor(row_factory=class_row(Coverage)) as cursor:
        return fetch_one(
            cursor.execute(
                query,
                {
                    "space": space.id,
                    "modalities": list(space.embeds),
                    "elsewhere": None if other is None else other.id,
                    "others": [] if other is None else list(other.embeds),
                },
            )
        )
