"""Query texts and their vectors: what text_embedding() reads and fills."""

from alembic import op

revision = "pipeline_0005_query_embeddings"
down_revision = "pipeline_0004_ingest_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE query_embeddings (
            space_id      integer NOT NULL,
            query_sha256  bytea NOT NULL,
            query         text NOT NULL,
            embedding     halfvec,
            error         text,
            requested_at  timestamptz NOT NULL DEFAULT now(),
            embedded_at   timestamptz,
            last_used_at  timestamptz NOT NULL DEFAULT now(),
            claimed_until timestamptz,
            CONSTRAINT query_embeddings_pkey PRIMARY KEY (space_id, query_sha256),
            CONSTRAINT query_embeddings_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        CREATE INDEX query_embeddings_last_used ON query_embeddings (space_id, last_used_at);
        CREATE INDEX query_embeddings_requested
            ON query_embeddings (space_id, requested_at) WHERE embedding IS NULL;

        COMMENT ON TABLE query_embeddings IS
            'Query texts and their vectors, per space; filled on demand, bounded.';
        COMMENT ON COLUMN query_embeddings.space_id IS 'The space.';
        COMMENT ON COLUMN query_embeddings.query_sha256 IS 'The key: query_key(query).';
        COMMENT ON COLUMN query_embeddings.query IS 'The query''s text, as it was asked.';
        COMMENT ON COLUMN query_embeddings.embedding IS
            'Its unit vector; null while somebody waits for it.';
        COMMENT ON COLUMN query_embeddings.error IS 'Why it could not be embedded.';
        COMMENT ON COLUMN query_embeddings.requested_at IS 'When it was first asked for.';
        COMMENT ON COLUMN query_embeddings.embedded_at IS 'When the vector was written.';
        COMMENT ON COLUMN query_embeddings.last_used_at IS
            'When it was last asked for; the least recent goes.';
        COMMENT ON COLUMN query_embeddings.claimed_until IS
            'Until when a server works on it; then another one may.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE query_embeddings")
