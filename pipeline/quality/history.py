"""What was measured of spaces, and how it went: off the table ``space_evaluations``."""

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


@dataclass(frozen=True, slots=True)
class Figure:
    """What one measured number of a space was last.

    Attributes:
        metric: ``recall@10`` of its index, or ``R@10`` of its model.
        condition: ``none``, or which pairs belong together: ``pairs by KEY``.
    """

    metric: str
    query_modality: str
    item_modality: str
    condition: str
    value: float
    measured_at: datetime


def latest(connection: Connection, space: Space) -> list[Figure]:
    """What the gate looks at: recall@10 without a filter, and R@10, as each was last."""
    with connection.cursor(row_factory=class_row(Figure)) as cursor:
        return cursor.execute(
            """
            SELECT DISTINCT ON (condition, metric, query_modality, item_modality)
                metric, query_modality, item_modality, condition, value, measured_at
            FROM space_evaluations
            WHERE space_id = %s
                AND (metric = 'recall@10' AND condition = 'none' OR metric = 'R@10')
            ORDER BY condition, metric, query_modality, item_modality, measured_at DESC, id DESC
            """,
            (space.id,),
        ).fetchall()
