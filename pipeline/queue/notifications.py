"""Notifications that there are new jobs."""

from psycopg import sql

from pipeline.postgres.connections import Connection

CHANNEL = "ingest_jobs"


def wait_for_jobs(connection: Connection, seconds: float) -> bool:
    """Whether a notification says that there are new jobs, waiting so long for one."""
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
    return any(connection.notifies(timeout=seconds, stop_after=1))
