"""The index of full text, built anew where the functions that it is made of have changed."""

import logging

from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.session import settle_transaction

logger = logging.getLogger(__name__)

INDEX = "source_items_document"

# What its comment should be where it is not; see sql/schema/full_text_index.sql.
_OUTDATED = """
SELECT said FROM (
    SELECT full_text_made_of() AS said, c.oid
    FROM pg_class AS c
    JOIN pg_index AS i ON i.indexrelid = c.oid AND i.indrelid = to_regclass('source_items')
    WHERE c.oid = to_regclass(%s)
) AS wanted WHERE said IS DISTINCT FROM obj_description(oid, 'pg_class')
"""
# Of a run that was interrupted.
_LEFT = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass('source_items') AND NOT i.indisvalid
  AND c.relname ~ '^source_items_document_cc(new|old)[0-9]*$'
"""


def renew_full_text_index(connection: Connection, schema: str) -> bool:
    """Build the index anew where its functions have changed, and whether that was so.

    Readers and writers go on meanwhile; a search finds what the older functions made. Waits for the
    transactions that are open. What is interrupted is done by the next migrate.

    Args:
        connection: outside a transaction; by way of a pooler as well.
        schema: that of our tables.
    """
    with connection.transaction():
        settle_transaction(connection, schema)
        says, left = _look(connection)
    if says is None:
        return False
    # Not in a transaction, so with the schema's name: the path may be another's.
    for name in left:
        index = sql.Identifier(schema, name)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(index))
    logger.info("building the index of full text anew")
    index = sql.Identifier(schema, INDEX)
    connection.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(index))
    connection.execute(sql.SQL("COMMENT ON INDEX {} IS {}").format(index, sql.Literal(says)))
    return True


def _look(connection: Connection) -> tuple[str | None, list[str]]:
    """What its comment should be, None where all is well, and what an interrupted run left."""
    (is_installed,) = fetch_one(
        connection.execute("SELECT to_regprocedure('full_text_made_of()') IS NOT NULL")
    )
    if not is_installed:  # at an older revision
        return None, []
    row = connection.execute(_OUTDATED, (INDEX,)).fetchone()
    left = [name for (name,) in connection.execute(_LEFT).fetchall()]
    return (row[0] if row else None), left
