"""How recall went, measurement by measurement: off the table ``space_evaluations``."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.spaces import Space

SHOWN = 30  # measurements of each pair


@dataclass(frozen=True, slots=True)
class Measurement:
    """One pair at one time; ``items`` is None where an earlier release did not say."""

    query_modality: str
    item_modality: str
    measured_at: datetime
    ef_search: int | None
    items: int | None
    recall: float


def history(
    connection: Connection, space: Space, *, k: int = 10, last: int = SHOWN
) -> list[Measurement]:
    """The last measurements of recall@k without a filter, by pair, oldest first."""
    with connection.cursor(row_factory=class_row(Measurement)) as cursor:
        return cursor.execute(
            """
            SELECT query_modality, item_modality, measured_at, ef_search, items, recall
            FROM (
                SELECT query_modality, item_modality, measured_at, ef_search, items,
                    value AS recall, id, row_number() OVER (
                        PARTITION BY query_modality, item_modality
                        ORDER BY measured_at DESC, id DESC
                    ) AS age
                FROM space_evaluations
                WHERE space_id = %s AND metric = %s AND condition = 'none'
            ) AS e
            WHERE age <= %s ORDER BY query_modality, item_modality, measured_at, id
            """,
            (space.id, f"recall@{k}", last),
        ).fetchall()
