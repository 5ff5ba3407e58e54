"""THE table: unit vectors of both modalities, partitioned by modality.

The partitions belong to a space and are made with it (pipeline/spaces.py), since they carry its
CHECKs. Until the first space is active the vector column has no dimensions and nothing fits in.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE SEQUENCE multimodal_items_id_seq AS bigint;
        CREATE TABLE multimodal_items (
            id             bigint NOT NULL DEFAULT nextval('multimodal_items_id_seq'),
            source_id      bigint NOT NULL,
            part           integer NOT NULL DEFAULT 0,
            modality       text NOT NULL,
            content_ref    text NOT NULL,
            metadata       jsonb NOT NULL DEFAULT '{}'::jsonb,
            space_id       integer NOT NULL,
            content_sha256 bytea NOT NULL,
            embedding      halfvec NOT NULL,
            embedded_at    timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT multimodal_items_pkey PRIMARY KEY (id, modality),
            CONSTRAINT multimodal_items_source_part_unique UNIQUE (source_id, part, modality),
            CONSTRAINT multimodal_items_modality_known CHECK (modality IN ('text', 'image'))
        ) PARTITION BY LIST (modality);
        ALTER SEQUENCE multimodal_items_id_seq OWNED BY multimodal_items.id;
        CREATE INDEX multimodal_items_metadata
            ON multimodal_items USING gin (metadata jsonb_path_ops);
        CREATE INDEX multimodal_items_content ON multimodal_items USING hash (content_sha256);

        COMMENT ON TABLE multimodal_items IS
            'Unit vectors of texts and images in one shared space, with pointers.';
        COMMENT ON COLUMN multimodal_items.id IS 'Number of the item.';
        COMMENT ON COLUMN multimodal_items.source_id IS 'The source item it came from.';
        COMMENT ON COLUMN multimodal_items.part IS '0, or the number of the text''s window.';
        COMMENT ON COLUMN multimodal_items.modality IS 'text or image.';
        COMMENT ON COLUMN multimodal_items.content_ref IS
            'The text, or the path or URI of the image.';
        COMMENT ON COLUMN multimodal_items.metadata IS
            'The source item''s metadata, and under _pipeline what the intake found.';
        COMMENT ON COLUMN multimodal_items.space_id IS 'The space the vector belongs to.';
        COMMENT ON COLUMN multimodal_items.content_sha256 IS 'SHA-256 of what was embedded.';
        COMMENT ON COLUMN multimodal_items.embedding IS
            'Unit vector; compare with <=> (cosine distance).';
        COMMENT ON COLUMN multimodal_items.embedded_at IS 'When the vector was written.';
        """
    )


def downgrade() -> None:
    # Tables of spaces that are not attached (building, retired) hang on the sequence: drop both.
    op.execute(
        r"""
        DO $$
        DECLARE detached regclass;
        BEGIN
            FOR detached IN
                SELECT c.oid::regclass FROM pg_class c
                WHERE c.relnamespace = current_schema()::regnamespace
                  AND c.relkind = 'r' AND NOT c.relispartition
                  AND c.relname ~ '^multimodal_items_[a-z]+_s\d+$'
            LOOP
                EXECUTE format('DROP TABLE %s', detached);
            END LOOP;
        END $$;
        DROP TABLE multimodal_items;
        """
    )
