"""The source table: rows to embed, and the folders their file references may point into."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute(
        """
        CREATE TABLE source_items (
            id          bigint GENERATED ALWAYS AS IDENTITY,
            source      text NOT NULL,
            source_key  text NOT NULL,
            modality    text NOT NULL,
            content_ref text NOT NULL,
            metadata    jsonb NOT NULL DEFAULT '{}'::jsonb,
            created_at  timestamptz NOT NULL DEFAULT now(),
            updated_at  timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT source_items_pkey PRIMARY KEY (id),
            CONSTRAINT source_items_source_key_unique UNIQUE (source, source_key),
            CONSTRAINT source_items_modality_known CHECK (modality IN ('text', 'image'))
        );

        COMMENT ON TABLE source_items IS
            'Rows to embed. INSERT, UPDATE and DELETE here; triggers keep the queue.';
        COMMENT ON COLUMN source_items.id IS 'Number of the row.';
        COMMENT ON COLUMN source_items.source IS 'Where the row comes from, such as a system.';
        COMMENT ON COLUMN source_items.source_key IS 'The row''s key there; unique per source.';
        COMMENT ON COLUMN source_items.modality IS 'text or image.';
        COMMENT ON COLUMN source_items.content_ref IS
            'The text itself, or the path or URI of the picture.';
        COMMENT ON COLUMN source_items.metadata IS
            'Anything to filter and show by; copied to the items.';
        COMMENT ON COLUMN source_items.created_at IS 'When the row was added.';
        COMMENT ON COLUMN source_items.updated_at IS
            'When the row last changed; kept by a trigger.';

        CREATE FUNCTION source_items_touch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := now();
            RETURN NEW;
        END $$;
        COMMENT ON FUNCTION source_items_touch() IS 'Keeps source_items.updated_at.';

        CREATE TRIGGER source_items_touch BEFORE UPDATE ON source_items
            FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION source_items_touch();

        CREATE TABLE media_roots (
            path     text NOT NULL,
            added_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT media_roots_pkey PRIMARY KEY (path),
            CONSTRAINT media_roots_path_absolute CHECK (path LIKE '/%')
        );
        COMMENT ON TABLE media_roots IS
            'Folders that file references may point into, besides PIPELINE_MEDIA_ROOTS.';
        COMMENT ON COLUMN media_roots.path IS 'The folder, absolute.';
        COMMENT ON COLUMN media_roots.added_at IS 'When pipeline add registered it.';
        """
    )


def downgrade() -> None:
    # The extension stays: other tables of the database may use it.
    op.execute("DROP TABLE source_items, media_roots")
    op.execute("DROP FUNCTION source_items_touch()")
