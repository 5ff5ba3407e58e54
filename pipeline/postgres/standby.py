"""Read replicas: hot standbys, which are searched like their primary and take no writes."""

from dataclasses import dataclass
from datetime import datetime

import psycopg

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.urls import shown_url


@dataclass(frozen=True, slots=True)
class Standby:
    """How far a standby is behind its primary.

    Attributes:
        bytes: of the primary's log that have come and are not replayed yet.
        seconds: since the newest transaction that is replayed; 0 where all that came is; None: none
            was since this server has started, so nobody knows.
        is_receiving: whether it is connected to a primary now.
        is_paused: whether somebody has stopped the replay.
        replayed_at: when the newest transaction that is replayed was committed; None: none was.
    """

    bytes: int
    seconds: float | None
    is_receiving: bool
    is_paused: bool
    replayed_at: datetime | None

    def __str__(self) -> str:
        """A sentence's end, as ``a standby, 1.5 s, 16384 bytes behind its primary``."""
        since = "" if self.seconds is None else f"{self.seconds:.1f} s, "
        behind = f"{since}{self.bytes} bytes behind its primary"
        if self.is_paused:
            return f"a standby whose replay is paused, {behind}"
        if not self.is_receiving:
            at = f"{self.replayed_at:%Y-%m-%d %H:%M:%S %Z}" if self.replayed_at else "its beginning"
            return f"a standby that receives nothing by streaming; what it shows is of {at}"
        return f"a standby, {behind}" if self.bytes else "a standby, with all that it was sent"


# Who may not look at the primary's address still sees that there is a receiver.
_STANDBY = """
SELECT greatest(0, coalesce(pg_wal_lsn_diff(at.received, at.replayed), 0))::bigint AS bytes,
    CASE WHEN at.received > at.replayed THEN
        extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    ELSE 0 END::float8 AS seconds,
    EXISTS (SELECT FROM pg_stat_wal_receiver AS r WHERE r.pid IS NOT NULL) AS is_receiving,
    pg_is_wal_replay_paused() AS is_paused,
    pg_last_xact_replay_timestamp() AS replayed_at
FROM (SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) AS at (received, replayed)
WHERE pg_is_in_recovery()
"""


def find_standby(connection: Connection) -> Standby | None:
    """How far behind this server is; None: it is no standby."""
    row = connection.execute(_STANDBY).fetchone() if is_standby(connection) else None
    return Standby(*row) if row else None


def is_standby(connection: Connection) -> bool:
    """Whether this server only replays what another one writes."""
    (in_recovery,) = fetch_one(connection.execute("SELECT pg_is_in_recovery()"))
    return bool(in_recovery)


def refuse_standby(connection: Connection, url: str) -> None:
    """For what writes.

    Raises:
        DatabaseError: this is a standby. A temporary failure, since after a switch-over it may be
            the primary again.
    """
    if is_standby(connection):
        raise DatabaseError(
            f"{shown_url(url)} is a standby, a read replica that is only searched; what writes "
            "needs the primary server: point DATABASE_URL there"
        ) from psycopg.errors.ReadOnlySqlTransaction("in recovery")
