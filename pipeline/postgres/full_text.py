"""The index of full text, built anew where the functions that it is made of have changed."""

import logging

from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one

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


def renew_full_text_index(connection: Connection) -> bool:
    """Build the index anew where its functions have changed, and whether that was so.

    Readers and writers go on meanwhile; a search finds what the older functions made. Waits for the
    transactions that are open. What is interrupted is done by the next migrate.

    Args:
        connection: outside a transaction.
    """
    (is_installed,) = fetch_one(
        connection.execute("SELECT to_regprocedure('full_text_made_of()') IS NOT NULL")
    )
    if not is_installed:  # at an older revision
        return False
    row = connection.execute(_OUTDATED, (INDEX,)).fetchone()
    if row is None:
        return False
    for (name,) in connection.execute(_LEFT).fetchall():
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
    logger.info("building the index of full text anew")
    connection.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(INDEX)))
    connection.execute(
        sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(INDEX), sql.Literal(row[0]))
    )
    return True
