"""Whether a job is there because its row's content changed: then its old items go if it fails."""

from alembic import op

revision = "pipeline_0008_content_changed"
down_revision = "pipeline_0007_query_servers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE ingest_jobs ADD COLUMN content_changed boolean NOT NULL DEFAULT false;
        COMMENT ON COLUMN ingest_jobs.content_changed IS
            'Whether the row''s content is another than its items are of; if it fails for good, '
            'they go.';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE ingest_jobs DROP COLUMN content_changed")
