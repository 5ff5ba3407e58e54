"""A compact index: each space's rotation, and the leading coordinates of its vectors by it."""

from alembic import op

revision = "pipeline_0014_compact_index"
down_revision = "pipeline_0013_recall"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE embedding_spaces
            ADD COLUMN index_kind text NOT NULL DEFAULT 'full',
            ADD COLUMN compact_dimensions integer,
            ADD COLUMN compact_width integer,
            ADD CONSTRAINT embedding_spaces_index_kind_known
                CHECK (index_kind IN ('full', 'compact')),
            ADD CONSTRAINT embedding_spaces_compact_is_leading
                CHECK (compact_dimensions BETWEEN 1 AND compact_width
                       AND compact_width <= dimensions);
        COMMENT ON COLUMN embedding_spaces.index_kind IS
            'What was asked for: full, or compact (over leading coordinates, then re-ranked).';
        COMMENT ON COLUMN embedding_spaces.compact_dimensions IS
            'Leading coordinates that the indexes are over; null: over whole vectors.';
        COMMENT ON COLUMN embedding_spaces.compact_width IS
            'Leading coordinates that multimodal_items.compact has; null: there are none.';

        CREATE TABLE space_rotations (
            space_id  integer NOT NULL,
            axis      integer NOT NULL,
            direction halfvec NOT NULL,
            CONSTRAINT space_rotations_pkey PRIMARY KEY (space_id, axis),
            CONSTRAINT space_rotations_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        -- Read for every row that is written: not out of line.
        ALTER TABLE space_rotations ALTER COLUMN direction SET STORAGE PLAIN;
        COMMENT ON TABLE space_rotations IS
            'An orthogonal matrix per space: the axes of its vectors, that of most length first.';
        COMMENT ON COLUMN space_rotations.space_id IS 'The space.';
        COMMENT ON COLUMN space_rotations.axis IS 'From 1, in the order of the coordinates.';
        COMMENT ON COLUMN space_rotations.direction IS
            'A unit vector; the inner product with it is the coordinate.';

        ALTER TABLE multimodal_items ADD COLUMN compact halfvec;
        COMMENT ON COLUMN multimodal_items.compact IS
            'Leading coordinates of the embedding, kept by a trigger; null: no compact index.';
        """
    )
    # And to the tables of spaces that are not attached, so that they can be.
    op.execute(
        r"""
        DO $$
        DECLARE
            items    regclass;
            detached boolean;
        BEGIN
            FOR items, detached IN
                SELECT c.oid::regclass, NOT c.relispartition
                FROM space_modalities AS m
                JOIN pg_class AS c ON c.oid = to_regclass(
                    format('%I', format('multimodal_items_%s_s%s', m.modality, m.space_id)))
            LOOP
                IF detached THEN
                    EXECUTE format('ALTER TABLE %s ADD COLUMN compact halfvec', items);
                END IF;
                EXECUTE format('COMMENT ON COLUMN %s.compact IS %L', items,
                    'Leading coordinates of the embedding, kept by a trigger; null: no compact '
                    'index.');
            END LOOP;
        END $$;
        """
    )


def downgrade() -> None:
    # Indexes over it go with the column; `pipeline space build --no-embed` makes others.
    op.execute(
        r"""
        DO $$
        DECLARE
            items    regclass;
            detached boolean;
        BEGIN
            FOR items, detached IN
                SELECT c.oid::regclass, NOT c.relispartition
                FROM space_modalities AS m
                JOIN pg_class AS c ON c.oid = to_regclass(
                    format('%I', format('multimodal_items_%s_s%s', m.modality, m.space_id)))
            LOOP
                EXECUTE format('DROP TRIGGER IF EXISTS items_compact ON %s', items);
                IF detached THEN
                    EXECUTE format('ALTER TABLE %s DROP COLUMN compact', items);
                END IF;
            END LOOP;
        END $$;
        ALTER TABLE multimodal_items DROP COLUMN compact;
        DROP TABLE space_rotations;
        ALTER TABLE embedding_spaces
            DROP COLUMN index_kind, DROP COLUMN compact_dimensions, DROP COLUMN compact_width;
        """
    )
