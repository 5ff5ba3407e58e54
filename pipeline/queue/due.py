"""Whether jobs wait, and since when."""

from datetime import datetime

from pipeline.postgres.connections import Connection


def database_time(connection: Connection) -> datetime:
    """The server's clock, by which jobs become due."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def is_due(
    connection: Connection,
    space_id: int,
    *,
    suspects: bool = False,
    caught_up: datetime | None = None,
) -> bool:
    """Whether a job waits that may be claimed now: any, or only one of the suspects.

    Args:
        caught_up: disregard jobs that nobody has tried yet and that came after this time.
    """
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM ingest_jobs
            WHERE space_id = %(space)s AND state = 'pending' AND run_after <= %(until)s::timestamptz
              AND (%(caught_up)s::timestamptz IS NULL OR run_after <= %(caught_up)s
                   OR attempts > 0))
        """,
        {"space": space_id, "until": "epoch" if suspects else "now", "caught_up": caught_up},
    ).fetchone()
    return bool(row and row[0])
