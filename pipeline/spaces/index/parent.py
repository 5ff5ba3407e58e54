"""The index of ``multimodal_items`` itself: a hull to which the partitions' indexes are attached.

It holds no vector. But an index that is attached cannot be dropped alone, so a space that is to be
loaded without one (``ingest/load_first.py``) takes off the hull and all in it, and a space whose
indexes were built while it was active gets a hull again.
"""

import logging

from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.postgres.patience import with_patience
from pipeline.spaces.space import Space
from pipeline.spaces.tables import is_empty

logger = logging.getLogger(__name__)

PARENT_INDEX = "multimodal_items_embedding"


def create_parent_index(connection: Connection, space: Space) -> None:
    """The hull alone; valid at once without partitions, else when each one's index is attached."""
    connection.execute(
        sql.SQL(
            "CREATE INDEX {} ON ONLY multimodal_items "
            "USING hnsw ({} {}) WITH (m = {}, ef_construction = {})"
        ).format(
            sql.Identifier(PARENT_INDEX),
            space.key,
            space.operators,
            sql.Literal(space.hnsw_m),
            sql.Literal(space.hnsw_ef_construction),
        )
    )


def has_whole_index(connection: Connection) -> bool:
    """Whether every partition of ``multimodal_items`` has its index, attached to the hull."""
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", (PARENT_INDEX,)
    ).fetchone()
    return bool(row and row[0])


def drop_parent_index(connection: Connection) -> None:
    """Drop the hull, where there is one, with the indexes that are attached to it.

    Raises:
        DatabaseError: what has its name is somebody else's.
    """
    row = connection.execute(
        """
        SELECT i.indrelid IS NOT DISTINCT FROM 'multimodal_items'::regclass, c.oid::regclass::text
        FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
        WHERE c.relname = %s
          AND c.relnamespace = (SELECT relnamespace FROM pg_class
                                WHERE oid = 'multimodal_items'::regclass)
        """,
        (PARENT_INDEX,),
    ).fetchone()
    if row is None:
        return
    is_ours, name = row
    if not is_ours:
        raise DatabaseError(
            f"{name} was there already and is not the pipeline's, which needs the name; rename "
            "yours, or give the pipeline a schema of its own (PIPELINE_SCHEMA)"
        )
    connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(PARENT_INDEX)))


def take_off_indexes(connection: Connection, space: Space) -> bool:
    """Drop the indexes of the active space, if it has no item at all; whether that was done.

    Not done either where the role does not own the tables, or the lock cannot be had.
    """

    def drop() -> bool:
        connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
        # Looked at under the lock: nobody writes an item now.
        row = connection.execute(
            "SELECT state = 'active' FROM embedding_spaces WHERE id = %s", (space.id,)
        ).fetchone()
        if row is None or not row[0] or not is_empty(connection, space):
            return False
        drop_parent_index(connection)
        return True

    return owns_tables(connection) and bool(with_patience(connection, drop))


def owns_tables(connection: Connection) -> bool:
    """Whether this role may change ``multimodal_items``."""
    row = connection.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
        "WHERE oid = 'multimodal_items'::regclass"
    ).fetchone()
    return bool(row and row[0])


def attach_indexes(connection: Connection, space: Space) -> None:
    """Each table's index to the hull, which is whole then."""
    for modality in space.modalities:
        connection.execute(
            sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
                sql.Identifier(PARENT_INDEX), sql.Identifier(space.index_name(modality))
            )
        )


def adopt_indexes(connection: Connection, space: Space) -> None:
    """Attach the indexes of the active space's tables to the hull, making it where there is none.

    Where the lock cannot be had, the indexes serve all the same, and the next call attaches them.
    """

    def adopt() -> bool:
        if has_whole_index(connection):
            return True
        connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
        row = connection.execute("SELECT to_regclass(%s) IS NULL", (PARENT_INDEX,)).fetchone()
        if row is None or row[0]:
            create_parent_index(connection, space)
        attach_indexes(connection, space)
        return True

    if not with_patience(connection, adopt):
        logger.warning("multimodal_items was never free to attach its indexes; they serve anyway")
