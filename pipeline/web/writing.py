"""What the pages may change, where that was allowed: failed rows come back, or go."""

from psycopg.rows import class_row

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.queue import failures
from pipeline.sources import removal
from pipeline.sources.attached import check_may_go
from pipeline.sources.removal import Brake, Leaving
from pipeline.spaces import active_space
from pipeline.web.catalogue import named_space
from pipeline.web.faults import PageError


def retry(connection: Connection, space: str, code: str, source_id: int | None) -> int:
    """Bring failed rows of a space back into the queue: one, those of a code, or all.

    Args:
        space: its name; empty: the active one.
    """
    return failures.retry(
        connection,
        space_id=(named_space(connection, space) if space else active_space(connection)).id,
        code=code or None,
        source_ids=None if source_id is None else [source_id],
    )


def remove(connection: Connection, source_id: int) -> None:
    """Delete one source item that failed, with what was made of it.

    Raises:
        PageError: it has not failed, is gone, or follows an attached source, which would bring it
            back.
    """
    with connection.cursor(row_factory=class_row(Leaving)) as cursor:
        row = cursor.execute(
            """
            SELECT i.id AS source_id, i.source, i.content_ref
            FROM source_items AS i JOIN ingest_jobs AS j ON j.source_id = i.id
            WHERE i.id = %s AND j.state = 'failed' LIMIT 1
            """,
            (source_id,),
        ).fetchone()
    if row is None:
        raise PageError(404, f"No source item {source_id} has failed.", "Load the page again.")
    _check_may_go(connection, row.source)
    removal.remove(connection, [row], Brake(1.0, released=True), named=True)


def _check_may_go(connection: Connection, source: str) -> None:
    try:
        check_may_go(connection, [source])
    except ConfigurationError as exc:
        raise PageError(409, f"{exc}.") from exc
