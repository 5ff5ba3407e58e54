"""The tables of a space: one per modality, ready to become a partition, without an HNSW index."""

from collections.abc import Sequence

from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.patience import with_patience
from pipeline.postgres.piecewise import piecewise
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.spaces.space import Space, get_space

LEAST_ID = -(2**63)
PAGE = 10_000  # jobs that are made at once


def create_table(connection: Connection, space: Space, modality: str) -> None:
    """One detached table, with the CHECKs that make attaching it scan-free."""
    connection.execute("SELECT make_items_table(%s, %s)", (space.id, modality))


def with_table(connection: Connection, space: Space, modality: str) -> Space:
    """The space once it has a table for a modality that it embeds: one that it derives gets it with
    its first item, and the active space with it a partition.

    Raises:
        DatabaseError: others, who change ``multimodal_items`` itself, never let go of it.
    """
    if modality in space.modalities:
        return space

    def make() -> bool:
        connection.execute("SELECT make_derived_items(%s, %s)", (space.id, modality))
        return True

    if not with_patience(connection, make):
        raise DatabaseError(
            f"multimodal_items was never free to get a partition for the modality {modality!r}; "
            "what changes the table itself, such as an index that is being built, has to end first"
        )
    return get_space(connection, space.name)


def enqueue_missing(connection: Connection, space: Space, of: Sequence[str] | None = None) -> int:
    """A job for every source item of what the space embeds that has neither a job nor an item in
    it, and whose items nobody deleted; how many.

    In pieces: an application may be changing the same rows.

    Args:
        of: of these modalities alone.
    """
    wanted = list(space.embeds if of is None else of)
    if not wanted:
        return 0
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT source_id FROM {}").format(space.table(modality))
        for modality in space.modalities
    )
    missing = sql.SQL(
        """
        SELECT s.id FROM source_items AS s
        WHERE s.modality = ANY (%s) AND s.id > %s
          AND NOT EXISTS (SELECT FROM ({items}) AS i WHERE i.source_id = s.id)
          AND NOT EXISTS (SELECT FROM ingest_jobs AS j
            WHERE j.space_id = {space} AND j.source_id = s.id)
          AND NOT EXISTS (SELECT FROM deleted_items AS d WHERE d.source_id = s.id)
        ORDER BY s.id LIMIT %s
        """
    ).format(space=sql.Literal(space.id), items=items)
    check_sees_all_rows(connection)
    count, last = 0, LEAST_ID
    while page := connection.execute(missing, (wanted, last, PAGE)).fetchall():
        ids = [source_id for (source_id,) in page]
        piecewise(connection, ids, lambda ids: _insert_jobs(connection, space, ids))
        count += len(ids)
        (last,) = page[-1]
    return count


def _insert_jobs(connection: Connection, space: Space, ids: list[int]) -> list[int]:
    """Those of these source items that somebody else has locked, the others having a job."""
    rows = connection.execute(
        """
        WITH free AS MATERIALIZED (
            SELECT s.id FROM source_items AS s WHERE s.id = ANY (%(ids)s)
            ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED
        ), made AS (
            INSERT INTO ingest_jobs (space_id, source_id) SELECT %(space)s, f.id FROM free AS f
            ORDER BY f.id ON CONFLICT DO NOTHING
        )
        SELECT s.id FROM source_items AS s
        WHERE s.id = ANY (%(ids)s) AND NOT EXISTS (SELECT FROM free AS f WHERE f.id = s.id)
        ORDER BY s.id
        """,
        {"space": space.id, "ids": ids},
    )
    return [source_id for (source_id,) in rows]


def item_count(connection: Connection, space: Space) -> int:
    """How many items the space holds."""
    counts = (
        sql.SQL("(SELECT count(*) FROM {})").format(space.table(modality))
        for modality in space.modalities
    )
    (items,) = fetch_one(
        connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" + ").join(counts)))
    )
    return int(items)


def is_empty(connection: Connection, space: Space, modality: str | None = None) -> bool:
    """Whether the space (or one of its tables) has no item at all."""
    conditions = (
        sql.SQL("NOT EXISTS (SELECT FROM {})").format(space.table(name))
        for name in ([modality] if modality else space.modalities)
    )
    (empty,) = fetch_one(
        connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" AND ").join(conditions)))
    )
    return bool(empty)
