"""Counts and mean vectors of a space's items, which ranking across modalities goes by.

They are read off the whole table, so not for every trickle; but those of rows that are no longer
there rank what is by a mean of what was. So whoever looks and finds them stale takes them anew.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one, short_lock_timeout
from pipeline.spaces.space import Space, find_active

logger = logging.getLogger(__name__)

# They are stale when so large a share of the items came or went since they were taken, or after so
# many days: what came and went in equal numbers is not counted.
STALE = 0.05
MOST_DAYS = 1
# How often those who run for long look.
LOOK_SECONDS = 300.0
# No reason to wait longer, least of all at the end of a run that is to stop.
LOCK_TIMEOUT_MS = 2000
# Beyond so many rows they are counted as of the last ANALYZE; counting them takes seconds.
COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one modality of a space.

    Attributes:
        known: items when they were taken.
        items: those of now.
    """

    modality: str
    known: int
    items: int
    has_mean: bool
    measured_at: datetime | None
    is_old: bool

    @property
    def off(self) -> float:
        """The share of the items, of then or now, that came or went since."""
        return abs(self.items - self.known) / max(self.items, self.known, 1)

    @property
    def is_stale(self) -> bool:
        return self.off > STALE or (self.items > 0 and not self.has_mean)


def statistics(connection: Connection, space: Space) -> list[Statistics]:
    """Of each modality of the space, how far what is known is from what is."""
    rows = connection.execute(
        """
        SELECT modality, item_count, mean IS NOT NULL, measured_at,
            coalesce(measured_at < now() - make_interval(days => %s), true)
        FROM space_modalities WHERE space_id = %s ORDER BY modality
        """,
        (MOST_DAYS, space.id),
    ).fetchall()
    return [
        Statistics(modality, known, _count(connection, space, modality), has_mean, at, is_old)
        for modality, known, has_mean, at, is_old in rows
    ]


def _count(connection: Connection, space: Space, modality: str) -> int:
    (estimate,) = fetch_one(
        connection.execute(
            "SELECT coalesce(max(reltuples), 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)",
            (space.table_name(modality),),
        )
    )
    if estimate > COUNTED:
        return int(estimate)
    query = sql.SQL("SELECT count(*) FROM {} AS i").format(space.rows(modality))
    (count,) = fetch_one(connection.execute(query))
    return int(count)


def refresh_if_stale(connection: Connection, space: Space, written: int = 0) -> bool:
    """Take the statistics anew, and the planner's own, where they are stale; whether they were.

    Args:
        written: items that were just written, which may have come in the place of others.
    """
    if space.state == "retired":  # nobody searches it
        return False
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):  # as long as a TRUNCATE is open, say
            found = statistics(connection, space)
        known = sum(one.known for one in found)
        is_stale = any(one.is_stale or (one.is_old and one.items) for one in found)
        if not (is_stale or (written and written >= STALE * known)):
            return False
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            connection.execute("SELECT refresh_space_statistics(%s)", (space.name,))
        for modality in space.modalities:
            # Without them it may pass the index by. A role that may not is told so by a WARNING;
            # autovacuum does it later anyway.
            with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
                connection.execute(sql.SQL("ANALYZE {}").format(space.table(modality)))
    except psycopg.errors.LockNotAvailable:
        logger.warning("somebody has the items locked; a later run takes their statistics")
        return False
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        logger.info("the statistics are stale, and this login may not take them anew")
        return False
    logger.info(
        "the statistics of the space %s were taken anew",
        space.name,
        extra={one.modality: f"{one.known} items then, {one.items} now" for one in found},
    )
    return True


def refresh_active(connection: Connection) -> None:
    """Those of the active space, if there is one and they are stale."""
    if space := find_active(connection):
        refresh_if_stale(connection, space)
