"""What each space holds and how well it can be searched, off the view ``space_status``."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One modality of one space; ``index_is_valid`` is None where there is no index."""

    space: str
    modality: str
    items: int
    table_bytes: int
    index_bytes: int | None
    index_is_valid: bool | None
    ef_search: int
    recall: float | None
    measured_at: datetime | None


def space_status(connection: Connection, name: str) -> list[SpaceStatus]:
    """One row per modality of the space."""
    with connection.cursor(row_factory=class_row(SpaceStatus)) as cursor:
        return cursor.execute(
            """
            SELECT space, modality, items, table_bytes, index_bytes, index_is_valid, ef_search,
                recall, measured_at
            FROM space_status WHERE space = %s ORDER BY modality
            """,
            (name,),
        ).fetchall()
