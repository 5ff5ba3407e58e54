"""The source table: rows to embed, what they may be, and the folders their files may lie in."""

from alembic import op

revision = "pipeline_0001_source_items"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute(
        """
        CREATE TABLE known_modalities (
            name        text NOT NULL,
            media       text NOT NULL,
            inline      boolean NOT NULL,
            description text NOT NULL,
            CONSTRAINT known_modalities_pkey PRIMARY KEY (name),
            -- It is part of the names of tables and indexes, which end at 63 bytes.
            CONSTRAINT known_modalities_name_plain CHECK (name ~ '^[a-z][a-z0-9_]{0,19}$'),
            CONSTRAINT known_modalities_media_known
                CHECK (media IN ('text', 'image', 'audio', 'video', 'application'))
        );
        INSERT INTO known_modalities (name, media, inline, description) VALUES
            ('text', 'text', true, 'Words; a long text has several parts.'),
            ('image', 'image', false, 'A photograph, a drawing, a scan.'),
            ('audio', 'audio', false, 'A recording of sound.'),
            ('video', 'video', false, 'A film; its segments are its parts.'),
            ('document', 'application', false, 'A file of pages, such as a PDF.'),
            ('depth', 'image', false, 'An image whose values are distances.'),
            ('thermal', 'image', false, 'An image whose values are temperatures.'),
            ('imu', 'application', false, 'Acceleration and rotation over time.');

        COMMENT ON TABLE known_modalities IS
            'What a source item may be; a further row allows a further modality.';
        COMMENT ON COLUMN known_modalities.name IS 'The modality.';
        COMMENT ON COLUMN known_modalities.media IS
            'The top level of its media type: text, image, audio, video or application.';
        COMMENT ON COLUMN known_modalities.inline IS
            'Whether content_ref is the content itself, not the path or URI of it.';
        COMMENT ON COLUMN known_modalities.description IS 'What it is.';

        CREATE TABLE source_items (
            id          bigint GENERATED ALWAYS AS IDENTITY,
            source      text NOT NULL,
            source_key  text NOT NULL,
            -- One of known_modalities: the triggers ask once per statement, where a foreign key
            -- would once per row.
            modality    text NOT NULL,
            content_ref text NOT NULL,
            metadata    jsonb NOT NULL DEFAULT '{}'::jsonb,
            created_at  timestamptz NOT NULL DEFAULT now(),
            updated_at  timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT source_items_pkey PRIMARY KEY (id),
            CONSTRAINT source_items_source_key_unique UNIQUE (source, source_key)
        );

        COMMENT ON TABLE source_items IS
            'Rows to embed. INSERT, UPDATE and DELETE here; triggers keep the queue.';
        COMMENT ON COLUMN source_items.id IS 'Number of the row.';
        COMMENT ON COLUMN source_items.source IS 'Where the row comes from, such as a system.';
        COMMENT ON COLUMN source_items.source_key IS 'The row''s key there; unique per source.';
        COMMENT ON COLUMN source_items.modality IS 'One of known_modalities, such as image.';
        COMMENT ON COLUMN source_items.content_ref IS
            'The text itself, or the path or URI of the content.';
        COMMENT ON COLUMN source_items.metadata IS
            'Anything to filter and show by; copied to the items.';
        COMMENT ON COLUMN source_items.created_at IS 'When the row was added.';
        COMMENT ON COLUMN source_items.updated_at IS
            'When the row last changed; kept by a trigger.';

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
    op.execute("DROP TABLE source_items, known_modalities, media_roots")
