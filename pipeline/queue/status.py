"""What is stored and what is to do, per space and modality."""

from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.spaces import list_spaces


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One modality of one space."""

    space: str
    state: str
    model: str
    modality: str
    items: int
    pending: int
    running: int
    failed: int


def read_status(connection: Connection) -> list[SpaceStatus]:
    """One row per space and modality, oldest space first."""
    rows: list[SpaceStatus] = []
    modalities = connection.execute(
        "SELECT space_id, modality FROM space_modalities ORDER BY space_id, modality"
    ).fetchall()
    for space in list_spaces(connection):
        for modality in [m for space_id, m in modalities if space_id == space.id]:
            with connection.cursor(row_factory=class_row(SpaceStatus)) as cursor:
                row = cursor.execute(
                    sql.SQL(
                        """
                        SELECT %(name)s AS space, %(state)s AS state, %(model)s AS model,
                            %(modality)s AS modality, (SELECT count(*) FROM {table}) AS items,
                            count(*) FILTER (WHERE j.state = 'pending') AS pending,
                            count(*) FILTER (WHERE j.state = 'running') AS running,
                            count(*) FILTER (WHERE j.state = 'failed') AS failed
                        FROM source_items AS s JOIN ingest_jobs AS j ON j.source_id = s.id
                        WHERE j.space_id = %(space)s AND s.modality = %(modality)s
                        """
                    ).format(table=space.table(modality)),
                    {
                        "name": space.name,
                        "state": space.state,
                        "model": space.model,
                        "modality": modality,
                        "space": space.id,
                    },
                ).fetchone()
            assert row is not None
            rows.append(row)
    return rows
