"""What is stored and what is to do, off the views ``ingest_status`` and
``unsupported_source_items``."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """One modality of one space."""

    space: str
    state: str
    model: str
    modality: str
    items: int
    pending: int
    running: int
    failed: int


def ingest_status(connection: Connection) -> list[IngestStatus]:
    """One row per space and modality, oldest space first."""
    with connection.cursor(row_factory=class_row(IngestStatus)) as cursor:
        return cursor.execute(
            """
            SELECT i.space, i.state, s.model, i.modality, i.items, i.pending, i.running, i.failed
            FROM ingest_status AS i JOIN embedding_spaces AS s ON s.name = i.space
            ORDER BY s.id, i.modality
            """
        ).fetchall()


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Source items that no space in use can embed: none has their modality."""

    modality: str
    source_items: int


def unsupported(connection: Connection) -> list[Unsupported]:
    """By modality; none where every row has a space. Reads every source item once."""
    with connection.cursor(row_factory=class_row(Unsupported)) as cursor:
        return cursor.execute(
            "SELECT modality, source_items FROM unsupported_source_items ORDER BY modality"
        ).fetchall()


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs of one space by state; ``due`` are the pending ones that may be claimed now."""

    pending: int
    due: int
    running: int
    failed: int


_COUNTS = """
SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
    count(*) FILTER (WHERE state = 'pending' AND run_after <= now()) AS due,
    count(*) FILTER (WHERE state = 'running') AS running,
    count(*) FILTER (WHERE state = 'failed') AS failed
FROM ingest_jobs WHERE space_id = %s
"""


def counts(connection: Connection, space_id: int) -> QueueCounts:
    """Jobs of the space by state, in one snapshot."""
    with connection.cursor(row_factory=class_row(QueueCounts)) as cursor:
        return fetch_one(cursor.execute(_COUNTS, (space_id,)))
