"""What a sync saw of an attached table, by which the next one knows that nothing changed."""

from alembic import op

revision = "pipeline_0012_attached_seen"
down_revision = "pipeline_0011_attached_sources"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE attached_sources ADD COLUMN seen jsonb;
        COMMENT ON COLUMN attached_sources.seen IS
            'What there was of it when all of it was compared last, where that tells whether '
            'anything changed since; null: the next sync compares all of it.';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE attached_sources DROP COLUMN seen")
