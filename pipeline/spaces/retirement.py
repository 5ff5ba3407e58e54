"""Spaces that are no longer active: kept for a rollback, at the price of a job for every change."""

import logging
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import CHANGE, lack
from pipeline.spaces.creation import drop
from pipeline.spaces.space import get_space

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retired:
    """A retired space; ``days`` since then, ``jobs`` that wait for somebody to work on it."""

    name: str
    retired_at: datetime | None
    days: float
    jobs: int


def retired(connection: Connection) -> list[Retired]:
    """The retired spaces, oldest first. Counts their jobs."""
    with connection.cursor(row_factory=class_row(Retired)) as cursor:
        return cursor.execute(
            """
            SELECT e.name, e.retired_at,
                (extract(epoch FROM now() - e.retired_at) / 86400)::double precision AS days,
                (SELECT count(*) FROM ingest_jobs AS j WHERE j.space_id = e.id) AS jobs
            FROM embedding_spaces AS e WHERE e.state = 'retired' AND e.retired_at IS NOT NULL
            ORDER BY e.retired_at
            """
        ).fetchall()


def drop_retired(connection: Connection, days: float) -> list[str]:
    """Drop the spaces that were retired so many days ago; their names.

    Only where this login owns the tables; another one leaves them to whoever does.

    Args:
        days: 0: never.
    """
    if not days:
        return []
    due = [space.name for space in retired(connection) if space.days >= days]
    if not due:
        return []
    if lack(connection, CHANGE):
        logger.info("%s would be dropped, but not by this login", ", ".join(due))
        return []
    dropped = []
    for name in due:
        try:
            drop(connection, get_space(connection, name))
        except SpaceError as exc:  # in use for a moment, or gone: next time
            logger.warning("%s", exc)
        else:
            logger.warning("dropped the space %s, retired for %s days or more", name, f"{days:g}")
            dropped.append(name)
    return dropped
