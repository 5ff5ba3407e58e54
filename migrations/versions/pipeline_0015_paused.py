"""Whether workers are to leave a space alone: since when, by whom and why."""

from alembic import op

revision = "pipeline_0015_paused"
down_revision = "pipeline_0014_compact_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE embedding_spaces
            ADD COLUMN paused_at timestamptz,
            ADD COLUMN paused_by text,
            ADD COLUMN paused_why text,
            ADD CONSTRAINT embedding_spaces_pause_is_whole
                CHECK ((paused_at IS NULL) = (paused_by IS NULL)
                    AND (paused_why IS NULL OR paused_at IS NOT NULL));
        COMMENT ON COLUMN embedding_spaces.paused_at IS
            'Since when workers claim none of its jobs; null: they do.';
        COMMENT ON COLUMN embedding_spaces.paused_by IS 'The login that paused it.';
        COMMENT ON COLUMN embedding_spaces.paused_why IS 'What it said about that.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE embedding_spaces
            DROP COLUMN paused_why, DROP COLUMN paused_by, DROP COLUMN paused_at;
        """
    )
