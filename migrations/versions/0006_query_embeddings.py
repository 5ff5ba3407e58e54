"""Query texts and their vectors: what text_embedding() reads and fills."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE query_embeddings (
            space_id     integer NOT NULL,
            query_sha256 bytea NOT NULL,
            query        text NOT NULL,
            embedding    halfvec,
            error        text,
            requested_at timestamptz NOT NULL DEFAULT now(),
            embedded_at  timestamptz,
            last_used_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT query_embeddings_pkey PRIMARY KEY (space_id, query_sha256),
            CONSTRAINT query_embeddings_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        CREATE INDEX query_embeddings_last_used ON query_embeddings (space_id, last_used_at);

        COMMENT ON TABLE query_embeddings IS
            'Query texts and their vectors, per space; filled on demand, bounded.';
        COMMENT ON COLUMN query_embeddings.space_id IS 'The space.';
        COMMENT ON COLUMN query_embeddings.query_sha256 IS 'SHA-256 of the query in UTF-8.';
        COMMENT ON COLUMN query_embeddings.query IS 'The query''s text.';
        COMMENT ON COLUMN query_embeddings.embedding IS
            'Its unit vector; null while somebody waits for it.';
        COMMENT ON COLUMN query_embeddings.error IS 'Why it could not be embedded.';
        COMMENT ON COLUMN query_embeddings.requested_at IS 'When it was first asked for.';
        COMMENT ON COLUMN query_embeddings.embedded_at IS 'When the vector was written.';
        COMMENT ON COLUMN query_embeddings.last_used_at IS
            'When it was last asked for; the least recent goes.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE query_embeddings")
