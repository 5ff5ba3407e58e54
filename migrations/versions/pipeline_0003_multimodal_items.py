"""THE table: unit vectors of every modality, partitioned by modality; and the rows searches return.

The partitions belong to a space and are made with it (pipeline/spaces/tables.py), since they carry
its CHECKs. Until the first space is active the vector column has no dimensions and nothing fits in.
"""

from alembic import op

revision = "pipeline_0003_multimodal_items"
down_revision = "pipeline_0002_embedding_spaces"
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
            CONSTRAINT multimodal_items_source_part_unique UNIQUE (source_id, part, modality)
        ) PARTITION BY LIST (modality);
        ALTER SEQUENCE multimodal_items_id_seq OWNED BY multimodal_items.id;
        CREATE INDEX multimodal_items_metadata
            ON multimodal_items USING gin (metadata jsonb_path_ops);
        CREATE INDEX multimodal_items_content ON multimodal_items USING hash (content_sha256);

        COMMENT ON TABLE multimodal_items IS
            'Unit vectors of all modalities in one shared space, with pointers.';
        COMMENT ON COLUMN multimodal_items.id IS 'Number of the item.';
        COMMENT ON COLUMN multimodal_items.source_id IS 'The source item it came from.';
        COMMENT ON COLUMN multimodal_items.part IS
            'Which part of the source item, from 0: a window of a text, say.';
        COMMENT ON COLUMN multimodal_items.modality IS 'One of known_modalities, such as image.';
        COMMENT ON COLUMN multimodal_items.content_ref IS
            'The text itself, or the path or URI of the content.';
        COMMENT ON COLUMN multimodal_items.metadata IS
            'The source item''s metadata, and under _pipeline what the intake found.';
        COMMENT ON COLUMN multimodal_items.space_id IS 'The space the vector belongs to.';
        COMMENT ON COLUMN multimodal_items.content_sha256 IS 'SHA-256 of what was embedded.';
        COMMENT ON COLUMN multimodal_items.embedding IS
            'Unit vector; compare with <=> (cosine distance).';
        COMMENT ON COLUMN multimodal_items.embedded_at IS 'When the vector was written.';

        CREATE TYPE item_match AS (
            rank        integer,
            id          bigint,
            source_id   bigint,
            part        integer,
            modality    text,
            content_ref text,
            metadata    jsonb,
            similarity  real,
            score       real
        );
        COMMENT ON TYPE item_match IS 'A row of search_items(): an item, and how near it is.';
        COMMENT ON COLUMN item_match.rank IS '1 for the best.';
        COMMENT ON COLUMN item_match.id IS 'Number of the item.';
        COMMENT ON COLUMN item_match.source_id IS 'The source item it came from.';
        COMMENT ON COLUMN item_match.part IS 'The best part of the source item.';
        COMMENT ON COLUMN item_match.modality IS 'Its modality, such as image.';
        COMMENT ON COLUMN item_match.content_ref IS
            'The text itself, or the path or URI of the content.';
        COMMENT ON COLUMN item_match.metadata IS 'The item''s metadata.';
        COMMENT ON COLUMN item_match.similarity IS 'Cosine of item and query.';
        COMMENT ON COLUMN item_match.score IS
            'What the rows are ranked by: the similarity, or what the ranking makes of it.';

        CREATE TYPE hybrid_match AS (
            rank        integer,
            id          bigint,
            source_id   bigint,
            part        integer,
            modality    text,
            content_ref text,
            metadata    jsonb,
            similarity  real,
            vector_rank integer,
            text_rank   integer,
            score       real
        );
        COMMENT ON TYPE hybrid_match IS 'A row of hybrid_search(): an item, and its two ranks.';
        COMMENT ON COLUMN hybrid_match.rank IS '1 for the best.';
        COMMENT ON COLUMN hybrid_match.id IS 'Number of the item.';
        COMMENT ON COLUMN hybrid_match.source_id IS 'The source item it came from.';
        COMMENT ON COLUMN hybrid_match.part IS 'The best part of the source item.';
        COMMENT ON COLUMN hybrid_match.modality IS 'Its modality, such as image.';
        COMMENT ON COLUMN hybrid_match.content_ref IS
            'The text itself, or the path or URI of the content.';
        COMMENT ON COLUMN hybrid_match.metadata IS 'The item''s metadata.';
        COMMENT ON COLUMN hybrid_match.similarity IS 'Cosine of item and query.';
        COMMENT ON COLUMN hybrid_match.vector_rank IS
            'Its rank by vector; null: not among the best.';
        COMMENT ON COLUMN hybrid_match.text_rank IS 'Its rank by full text; null: no word matches.';
        COMMENT ON COLUMN hybrid_match.score IS 'Sum of weight / (60 + rank) over both ranks.';
        """
    )


def downgrade() -> None:
    # Tables of spaces that are not attached (building, retired) hang on the sequence: drop both.
    op.execute(
        r"""
        DO $$
        DECLARE
            items regclass;
        BEGIN
            FOR items IN
                SELECT c.oid::regclass
                FROM space_modalities AS m
                JOIN pg_class AS c ON c.oid = to_regclass(
                    format('%I', format('multimodal_items_%s_s%s', m.modality, m.space_id)))
                WHERE NOT c.relispartition
            LOOP
                EXECUTE format('DROP TABLE %s', items);
            END LOOP;
        END $$;
        DROP TABLE multimodal_items;
        DROP TYPE item_match, hybrid_match;
        """
    )
