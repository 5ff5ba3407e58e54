"""Requests for query vectors are claimed, so that several `pipeline serve` share them."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE query_embeddings ADD COLUMN claimed_until timestamptz;
        COMMENT ON COLUMN query_embeddings.claimed_until IS
            'Until when a server works on it; then another one may.';
        CREATE INDEX query_embeddings_requested
            ON query_embeddings (space_id, requested_at) WHERE embedding IS NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX query_embeddings_requested;
        ALTER TABLE query_embeddings DROP COLUMN claimed_until;
        """
    )
