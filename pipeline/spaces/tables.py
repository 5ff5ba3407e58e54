"""The tables of a space: one per modality, ready to become a partition, without an HNSW index."""

from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.piecewise import piecewise
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.spaces.space import Space

# PostgreSQL moves a row's longest values out of line beyond a quarter of a page.
INLINE_BYTES = 2000
LEAST_ID = -(2**63)
PAGE = 10_000  # jobs that are made at once


def create_table(connection: Connection, space: Space, modality: str) -> None:
    """One detached table, with the CHECKs that make attaching it scan-free."""
    table, name = space.table(modality), space.table_name(modality)
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {table} (
                LIKE multimodal_items INCLUDING DEFAULTS INCLUDING COMMENTS,
                CONSTRAINT {pkey} PRIMARY KEY (id, modality),
                CONSTRAINT {unique} UNIQUE (source_id, part, modality),
                CONSTRAINT {of_modality} CHECK (modality = {modality}),
                CONSTRAINT {of_space} CHECK (space_id = {space})
            )
            """
        ).format(
            table=table,
            pkey=sql.Identifier(f"{name}_pkey"),
            unique=sql.Identifier(f"{name}_source_part_unique"),
            of_modality=sql.Identifier(f"{name}_modality"),
            of_space=sql.Identifier(f"{name}_space"),
            modality=sql.Literal(modality),
            space=sql.Literal(space.id),
        )
    )
    # Inline where it fits, so that a search fetches no TOAST.
    size = space.dimensions * (2 if space.vector_type == "halfvec" else 4)
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ALTER COLUMN embedding TYPE {}, ALTER COLUMN embedding SET STORAGE {}"
        ).format(table, space.column_type, sql.SQL("PLAIN" if size <= INLINE_BYTES else "EXTERNAL"))
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({})").format(
            table, sql.Identifier(f"{name}_unit_vector"), space.is_unit_vector
        )
    )
    connection.execute(
        sql.SQL("CREATE INDEX {} ON {} USING gin (metadata jsonb_path_ops)").format(
            sql.Identifier(f"{name}_metadata"), table
        )
    )
    connection.execute(
        sql.SQL("CREATE INDEX {} ON {} USING hash (content_sha256)").format(
            sql.Identifier(f"{name}_content"), table
        )
    )
    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(
            table, sql.Literal(f"Items of modality {modality} in the space {space.name}.")
        )
    )
    connection.execute(
        "INSERT INTO space_modalities (space_id, modality) VALUES (%s, %s)", (space.id, modality)
    )


def enqueue_missing(connection: Connection, space: Space) -> int:
    """A job for every source item of the space's modalities that has neither a job nor an item in
    it, and whose items nobody deleted; how many.

    In pieces: an application may be changing the same rows.
    """
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
    while page := connection.execute(missing, (list(space.modalities), last, PAGE)).fetchall():
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
