"""That there are new jobs: workers that wait are told so; looking is the truth."""

from psycopg import sql

from pipeline.postgres.connections import Connection

CHANNEL = "ingest_jobs"


def announce_jobs(connection: Connection) -> None:
    """Wake the workers that wait, but for a queue of notifications that is half full: a full one,
    which is anybody's, would fail the transaction."""
    connection.execute(
        "SELECT pg_notify(%s, '') WHERE pg_notification_queue_usage() < 0.5", (CHANNEL,)
    )


def wait_for_jobs(connection: Connection, seconds: float) -> bool:
    """Whether a notification says that there are new jobs, waiting so long for one."""
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
    return any(connection.notifies(timeout=seconds, stop_after=1))
