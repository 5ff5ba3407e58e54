"""What a ``pipeline serve`` says of itself: a row of ``query_servers``, and a lock that proves it.

The lock goes with the connection, so a server that was killed is known to be gone at once. Its
number is drawn by lot and kept in the row: any login may take an advisory lock, but none can take
this one before, and a lock without the row says nothing.
"""

import secrets

from pipeline.postgres.connections import Connection, fetch_one

# Class of the lock ('pqry'); live_query_servers() looks for it.
LOCK_CLASS = 0x70717279


def announce(connection: Connection, space_id: int, asker_limit: int, queue_limit: int) -> None:
    """Say that this connection's process serves the space, and no other one, from now on.

    Args:
        asker_limit: how many texts of one login at one address may wait.
        queue_limit: how many may wait in all.
    """
    connection.execute("SELECT pg_advisory_unlock_all()")
    is_locked = False
    while not is_locked:
        key = secrets.randbelow(2**31)
        (is_locked,) = fetch_one(
            connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, key))
        )
    with connection.transaction():
        connection.execute(
            """
            DELETE FROM query_servers WHERE pid = pg_backend_pid() OR (pid, lock_key) NOT IN (
                SELECT s.pid, s.lock_key FROM live_query_servers() AS s)
            """
        )
        connection.execute(
            """
            INSERT INTO query_servers (space_id, pid, lock_key, asker_limit, queue_limit)
            VALUES (%s, pg_backend_pid(), %s, %s, %s)
            """,
            (space_id, key, asker_limit, queue_limit),
        )
