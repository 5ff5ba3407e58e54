"""Who serves, and on whose behalf a text waits: what requests are counted and shared out by."""

from alembic import op

revision = "pipeline_0007_query_servers"
down_revision = "pipeline_0006_installed_sql"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE query_servers (
            space_id    integer NOT NULL,
            pid         integer NOT NULL,
            lock_key    integer NOT NULL,
            asker_limit integer NOT NULL,
            queue_limit integer NOT NULL,
            started_at  timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT query_servers_pkey PRIMARY KEY (pid, lock_key),
            CONSTRAINT query_servers_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE query_servers IS 'Each `pipeline serve`, as long as it runs.';
        COMMENT ON COLUMN query_servers.space_id IS 'The space whose model it has.';
        COMMENT ON COLUMN query_servers.pid IS 'Process of its session in this server.';
        COMMENT ON COLUMN query_servers.lock_key IS
            'Number of the advisory lock that it holds while it runs.';
        COMMENT ON COLUMN query_servers.asker_limit IS
            'How many texts of one login at one address may wait.';
        COMMENT ON COLUMN query_servers.queue_limit IS 'How many texts may wait in all.';
        COMMENT ON COLUMN query_servers.started_at IS 'When it was ready.';

        ALTER TABLE query_embeddings
            ADD COLUMN asked_by text NOT NULL DEFAULT '',
            ADD COLUMN asked_from text NOT NULL DEFAULT '';
        COMMENT ON COLUMN query_embeddings.asked_by IS
            'While it waits: the login that asked; empty afterwards.';
        COMMENT ON COLUMN query_embeddings.asked_from IS
            'While it waits: that login''s address; empty: the Unix socket, or afterwards.';
        CREATE INDEX query_embeddings_waiting
            ON query_embeddings (space_id, asked_by, asked_from, requested_at)
            WHERE embedding IS NULL AND error IS NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX query_embeddings_waiting;
        ALTER TABLE query_embeddings DROP COLUMN asked_by, DROP COLUMN asked_from;
        DROP TABLE query_servers;
        """
    )
