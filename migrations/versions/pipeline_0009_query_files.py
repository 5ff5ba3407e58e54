"""Files as queries, while they wait for `pipeline serve`; and a server behind a pooler."""

from alembic import op

revision = "pipeline_0009_query_files"
down_revision = "pipeline_0008_content_changed"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        -- Unlogged: the bytes reach no WAL, no archive and no replica, and a crash empties it.
        -- No foreign key: whoever asks in a transaction that stays open would hold the space.
        CREATE UNLOGGED TABLE query_files (
            id            uuid NOT NULL DEFAULT gen_random_uuid(),
            space_id      integer NOT NULL,
            content       bytea,
            bytes         integer NOT NULL,
            embedding     halfvec,
            error         text,
            asked_by      text NOT NULL,
            asked_from    text NOT NULL,
            requested_at  timestamptz NOT NULL DEFAULT now(),
            claimed_until timestamptz,
            CONSTRAINT query_files_pkey PRIMARY KEY (id),
            CONSTRAINT query_files_content_goes CHECK (
                content IS NULL OR embedding IS NULL AND error IS NULL)
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
                toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000);
        -- Images are compressed already.
        ALTER TABLE query_files ALTER content SET STORAGE EXTERNAL;
        COMMENT ON TABLE query_files IS
            'Files that somebody searches by, while they wait for `pipeline serve`.';
        COMMENT ON COLUMN query_files.id IS 'By which whoever asked finds the answer.';
        COMMENT ON COLUMN query_files.space_id IS 'The space.';
        COMMENT ON COLUMN query_files.content IS 'The file; null once it is answered.';
        COMMENT ON COLUMN query_files.bytes IS 'Its length.';
        COMMENT ON COLUMN query_files.embedding IS 'Its unit vector.';
        COMMENT ON COLUMN query_files.error IS 'Why it could not be embedded.';
        COMMENT ON COLUMN query_files.asked_by IS 'The login that asked.';
        COMMENT ON COLUMN query_files.asked_from IS
            'That login''s address; empty: the Unix socket.';
        COMMENT ON COLUMN query_files.requested_at IS 'When.';
        COMMENT ON COLUMN query_files.claimed_until IS
            'Until when a server works on it; then another one may.';

        ALTER TABLE query_servers
            ADD COLUMN seen_at timestamptz,
            ADD COLUMN file_limit bigint,
            ADD COLUMN file_queue_limit bigint;
        COMMENT ON COLUMN query_servers.seen_at IS
            'Of one behind a pooler, where no lock lasts: when it last said that it runs.';
        COMMENT ON COLUMN query_servers.file_limit IS
            'Most bytes of a file that is a query; null: it answers none.';
        COMMENT ON COLUMN query_servers.file_queue_limit IS
            'Most bytes of such files that may wait in all.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE query_files;
        ALTER TABLE query_servers
            DROP COLUMN seen_at, DROP COLUMN file_limit, DROP COLUMN file_queue_limit;
        """
    )
