"""Attached sources: the tables, views, prefixes and folders that source_items follows."""

from alembic import op

revision = "pipeline_0011_attached_sources"
down_revision = "pipeline_0010_deleted_items"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE attached_sources (
            id          integer GENERATED ALWAYS AS IDENTITY,
            name        text NOT NULL,
            -- As text in a dump, so that it is found in a copy of the database as well.
            relation    regclass,
            location    text,
            view        regclass,
            items_view  regclass,
            capture     text NOT NULL,
            on_error    text NOT NULL DEFAULT 'warn',
            sources     text[] NOT NULL,
            definition  jsonb NOT NULL,
            attached_at timestamptz NOT NULL DEFAULT now(),
            attached_by text NOT NULL DEFAULT current_user,
            synced_at   timestamptz,
            CONSTRAINT attached_sources_pkey PRIMARY KEY (id),
            CONSTRAINT attached_sources_name_unique UNIQUE (name),
            CONSTRAINT attached_sources_name_plain
                CHECK (name <> '' AND octet_length(name) <= 200 AND name !~ '[[:cntrl:]]'),
            CONSTRAINT attached_sources_of_one_kind
                CHECK (num_nonnulls(relation, location) = 1),
            CONSTRAINT attached_sources_synced_at_finite CHECK (isfinite(synced_at)),
            CONSTRAINT attached_sources_capture_known
                CHECK (capture IN ('statement', 'row', 'logical', 'scan')),
            CONSTRAINT attached_sources_on_error_known CHECK (on_error IN ('warn', 'raise'))
        );
        COMMENT ON TABLE attached_sources IS
            'What source_items follows; made by attach_source() and pipeline attach.';
        COMMENT ON COLUMN attached_sources.id IS 'Number; its objects are named after it.';
        COMMENT ON COLUMN attached_sources.name IS 'Its name.';
        COMMENT ON COLUMN attached_sources.relation IS 'The table or view.';
        COMMENT ON COLUMN attached_sources.location IS 'The folder, or the prefix in a bucket.';
        COMMENT ON COLUMN attached_sources.view IS
            'What source_items must hold of the relation: the view that was made of it.';
        COMMENT ON COLUMN attached_sources.items_view IS
            'Its items with the keys of their rows, for queries.';
        COMMENT ON COLUMN attached_sources.capture IS
            'How changes are noticed: statement, row, logical or scan.';
        COMMENT ON COLUMN attached_sources.on_error IS
            'What a fault of ours does to the statement that writes: warn, or raise.';
        COMMENT ON COLUMN attached_sources.sources IS
            'The values of source_items.source that are its own.';
        COMMENT ON COLUMN attached_sources.definition IS 'The arguments it was attached with.';
        COMMENT ON COLUMN attached_sources.attached_at IS 'When it was attached.';
        COMMENT ON COLUMN attached_sources.attached_by IS 'By whom.';
        COMMENT ON COLUMN attached_sources.synced_at IS
            'When all of it was compared last.';

        CREATE TABLE attached_source_problems (
            id            bigint GENERATED ALWAYS AS IDENTITY,
            attachment_id integer NOT NULL,
            problem       text NOT NULL,
            noted_at      timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT attached_source_problems_pkey PRIMARY KEY (id),
            CONSTRAINT attached_source_problems_attachment_id_fkey FOREIGN KEY (attachment_id)
                REFERENCES attached_sources (id) ON DELETE CASCADE
        );
        CREATE INDEX attached_source_problems_of ON attached_source_problems (attachment_id);
        COMMENT ON TABLE attached_source_problems IS
            'Why an attached source needs a sync, which then removes it.';
        COMMENT ON COLUMN attached_source_problems.id IS 'Number.';
        COMMENT ON COLUMN attached_source_problems.attachment_id IS 'The attached source.';
        COMMENT ON COLUMN attached_source_problems.problem IS 'What went wrong.';
        COMMENT ON COLUMN attached_source_problems.noted_at IS 'When.';

        CREATE TABLE attached_objects (
            attachment_id integer NOT NULL,
            -- In the order in which stores list, and compared byte by byte.
            key           text COLLATE "C" NOT NULL,
            size          bigint NOT NULL,
            etag          text,
            modified_at   timestamptz NOT NULL,
            CONSTRAINT attached_objects_pkey PRIMARY KEY (attachment_id, key),
            CONSTRAINT attached_objects_attachment_id_fkey FOREIGN KEY (attachment_id)
                REFERENCES attached_sources (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE attached_objects IS
            'The files and objects of attached folders and prefixes, as they were seen last.';
        COMMENT ON COLUMN attached_objects.attachment_id IS 'The attached source.';
        COMMENT ON COLUMN attached_objects.key IS
            'What follows the location in its path or URL; the row_key of its source item.';
        COMMENT ON COLUMN attached_objects.size IS 'In bytes.';
        COMMENT ON COLUMN attached_objects.etag IS
            'As its store calls this version of the content; files have none.';
        COMMENT ON COLUMN attached_objects.modified_at IS 'When it was changed last.';

        -- Unlogged: what is lost is listed again.
        CREATE UNLOGGED TABLE attached_listing_pages (
            attachment_id integer NOT NULL,
            page          integer NOT NULL,
            last_key      bytea NOT NULL,
            keys          text[] NOT NULL,
            modalities    text[] NOT NULL,
            sizes         bigint[] NOT NULL,
            etags         text[] NOT NULL,
            modified      text[] NOT NULL,
            listed_at     timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT attached_listing_pages_pkey PRIMARY KEY (attachment_id, page),
            CONSTRAINT attached_listing_pages_attachment_id_fkey FOREIGN KEY (attachment_id)
                REFERENCES attached_sources (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE attached_listing_pages IS
            'A listing of an attached folder or prefix that is under way, or was interrupted.';
        COMMENT ON COLUMN attached_listing_pages.attachment_id IS 'The attached source.';
        COMMENT ON COLUMN attached_listing_pages.page IS 'From 0, without gaps.';
        COMMENT ON COLUMN attached_listing_pages.last_key IS
            'The last key that was listed, which need not be among the keys: it goes on there.';
        COMMENT ON COLUMN attached_listing_pages.keys IS 'What was found that can be embedded.';
        COMMENT ON COLUMN attached_listing_pages.modalities IS 'Of each key, by its ending.';
        COMMENT ON COLUMN attached_listing_pages.sizes IS 'Of each key, in bytes.';
        COMMENT ON COLUMN attached_listing_pages.etags IS 'Of each key, where there is one.';
        COMMENT ON COLUMN attached_listing_pages.modified IS
            'Of each key, in ISO 8601: when it was changed last.';
        COMMENT ON COLUMN attached_listing_pages.listed_at IS 'When.';

        ALTER TABLE source_items ADD COLUMN row_key text;
        COMMENT ON COLUMN source_items.row_key IS
            'Of an attached source: the key of the row, which may have several source items.';
        CREATE INDEX source_items_row_key ON source_items (source, row_key)
            WHERE row_key IS NOT NULL;

        CREATE TYPE row_match AS (
            rank        integer,
            row_key     text,
            content     text,
            id          bigint,
            source_id   bigint,
            part        integer,
            modality    text,
            content_ref text,
            metadata    jsonb,
            similarity  real,
            score       real
        );
        COMMENT ON TYPE row_match IS
            'A row of search_rows(): one of an attached source, and the item by which it is near.';
        COMMENT ON COLUMN row_match.rank IS '1 for the best.';
        COMMENT ON COLUMN row_match.row_key IS
            'The key of the row as text; of several columns a JSON array.';
        COMMENT ON COLUMN row_match.content IS 'Which content of the row is the nearest.';
        COMMENT ON COLUMN row_match.id IS 'Its item.';
        COMMENT ON COLUMN row_match.source_id IS 'Its source item.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TYPE row_match;
        DROP INDEX source_items_row_key;
        ALTER TABLE source_items DROP COLUMN row_key;
        DROP TABLE attached_listing_pages, attached_objects, attached_source_problems,
            attached_sources;
        """
    )
