"""The tables of a space: one per modality, ready to become a partition, without an HNSW index."""

from psycopg import sql

from pipeline.modalities import MODALITIES
from pipeline.postgres.connections import Connection
from pipeline.spaces.space import Space

# PostgreSQL moves a row's longest values out of line beyond a quarter of a page.
INLINE_BYTES = 2000


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
    """A job for every source item that has neither a job nor an item in the space; how many."""
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT source_id FROM {}").format(space.table(modality)) for modality in MODALITIES
    )
    return connection.execute(
        sql.SQL(
            """
            INSERT INTO ingest_jobs (space_id, source_id)
            SELECT {space}, s.id FROM source_items AS s
            WHERE NOT EXISTS (SELECT FROM ({items}) AS i WHERE i.source_id = s.id)
            ORDER BY s.id
            ON CONFLICT DO NOTHING
            """
        ).format(space=sql.Literal(space.id), items=items)
    ).rowcount


def item_count(connection: Connection, space: Space) -> int:
    """How many items the space holds."""
    row = connection.execute(
        sql.SQL("SELECT {}").format(
            sql.SQL(" + ").join(
                sql.SQL("(SELECT count(*) FROM {})").format(space.table(modality))
                for modality in MODALITIES
            )
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


def is_empty(connection: Connection, space: Space, modality: str | None = None) -> bool:
    """Whether the space (or one of its tables) has no item at all."""
    row = connection.execute(
        sql.SQL("SELECT {}").format(
            sql.SQL(" AND ").join(
                sql.SQL("NOT EXISTS (SELECT FROM {})").format(space.table(name))
                for name in ([modality] if modality else MODALITIES)
            )
        )
    ).fetchone()
    assert row is not None
    return bool(row[0])
