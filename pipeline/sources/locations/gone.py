"""Source items whose files or objects are no longer there, by a listing that was whole."""

from collections.abc import Sequence

from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.sources.locations.compare import of
from pipeline.sources.locations.location import Attached, LocationReport
from pipeline.sources.removal import Brake, Leaving, refusals, remove

BATCH = 10_000  # in memory at a time

_GONE = sql.SQL("""
FROM source_items AS s
WHERE s.source = %(source)s AND starts_with(s.source_key, %(base)s) AND s.id <> ALL (%(stay)s)
  AND NOT EXISTS (
    SELECT FROM attached_listing_pages AS p CROSS JOIN LATERAL unnest(p.keys) AS l (key)
    WHERE p.attachment_id = %(attachment)s AND %(base)s || l.key = s.source_key)
""")
_COUNT = sql.SQL("SELECT count(*) {}").format(_GONE)
_PAGE = sql.SQL(
    "SELECT s.id AS source_id, s.source, s.content_ref {} AND s.id > %(last)s "
    "ORDER BY s.id LIMIT %(page)s"
).format(_GONE)


def remove_gone(
    connection: Connection,
    attached: Attached,
    stay: Sequence[int],
    brake: Brake,
    report: LocationReport,
) -> None:
    """Remove what is not listed, unless that is more than may go at once.

    Args:
        connection: outside a transaction; the pages of the whole listing are kept.
        stay: source items of which it is known where their content is now.
    """
    given = of(attached) | {"stay": list(stay)}
    (count,) = fetch_one(connection.execute(_COUNT, given))
    report.refused = refusals(connection, {attached.source: count}, brake) if count else []
    if not count or report.refused:
        return
    meant = Brake(brake.share, released=True)  # it was asked about all of them
    given |= {"last": -(2**63), "page": BATCH}
    with connection.cursor(row_factory=class_row(Leaving)) as cursor:
        while page := cursor.execute(_PAGE, given).fetchall():
            report.removed += remove(connection, page, meant).removed
            given["last"] = page[-1].source_id


def forget_objects(connection: Connection, attached: Attached) -> None:
    """Forget what was seen of objects that no source item is made of any more."""
    connection.execute(
        """
        DELETE FROM attached_objects AS o WHERE o.attachment_id = %(attachment)s AND NOT EXISTS (
            SELECT FROM source_items AS s
            WHERE s.source = %(source)s AND s.source_key = %(base)s || o.key)
        """,
        of(attached),
    )
