"""What a ``pipeline serve`` says of itself: a row of ``query_servers``, and what proves it.

Where the session is ours alone, that is a lock: it goes with the connection, so a server that was
killed is known to be gone at once. Its number is drawn by lot and kept in the row: any login may
take an advisory lock, but none can take this one before, and a lock without the row says nothing.

A pooler that shares its sessions would keep the lock when the server is long gone. Behind one the
row itself says when its server was last seen, again and again; one that was killed is believed to
run for the 15 seconds of ``live_query_servers()``.
"""

import secrets
import time
from dataclasses import dataclass

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.session import is_direct

# Class of the lock ('pqry'); live_query_servers() looks for it.
LOCK_CLASS = 0x70717279
# Several within the seconds after which a row is not believed any more.
SEEN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What may wait for a server.

    Attributes:
        asker: how many texts, or files, of one login at one address.
        queue: how many texts in all.
        file: bytes of one file.
        file_queue: bytes of files in all; of one login at one address a quarter.
    """

    asker: int
    queue: int
    file: int
    file_queue: int


class Announcement:
    """That this connection's process serves a space, and no other one, from now on."""

    def __init__(self, connection: Connection, space_id: int, limits: Limits) -> None:
        self.connection = connection
        self.space_id = space_id
        self.is_direct = is_direct(connection)
        self._key = _locked(connection) if self.is_direct else secrets.randbelow(2**31)
        self._seen = time.monotonic()
        with connection.transaction():
            connection.execute(
                """
                DELETE FROM query_servers WHERE seen_at IS NULL AND pid = pg_backend_pid()
                    OR (pid, lock_key) NOT IN (
                        SELECT s.pid, s.lock_key FROM live_query_servers() AS s)
                """
            )
            connection.execute(
                """
                INSERT INTO query_servers (space_id, pid, lock_key, asker_limit, queue_limit,
                    file_limit, file_queue_limit, seen_at)
                VALUES (%s, CASE WHEN %s THEN pg_backend_pid() ELSE 0 END, %s, %s, %s, %s, %s,
                    CASE WHEN %s THEN NULL ELSE clock_timestamp() END)
                """,
                (
                    space_id,
                    self.is_direct,
                    self._key,
                    limits.asker,
                    limits.queue,
                    limits.file,
                    limits.file_queue,
                    self.is_direct,
                ),
            )

    def repeat(self, connection: Connection) -> None:
        """Say it again where nothing else proves it; seldom enough to be called all the time."""
        if self.is_direct or time.monotonic() < self._seen + SEEN_SECONDS:
            return
        self._seen = time.monotonic()
        connection.execute(
            "UPDATE query_servers SET seen_at = clock_timestamp() WHERE (pid, lock_key) = (0, %s)",
            (self._key,),
        )

    def withdraw(self, connection: Connection) -> None:
        """Say that nobody serves here any more."""
        connection.execute("DELETE FROM query_servers WHERE lock_key = %s", (self._key,))


def _locked(connection: Connection) -> int:
    """The number of a lock that nobody else has; those that this session had before are let go."""
    connection.execute("SELECT pg_advisory_unlock_all()")
    while True:
        key = secrets.randbelow(2**31)
        (is_locked,) = fetch_one(
            connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, key))
        )
        if is_locked:
            return key
