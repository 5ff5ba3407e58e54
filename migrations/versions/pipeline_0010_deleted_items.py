"""Items that somebody deleted, and that are not to come back by themselves."""

from alembic import op

revision = "pipeline_0010_deleted_items"
down_revision = "pipeline_0009_query_files"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE deleted_items (
            source_id  bigint NOT NULL,
            deleted_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT deleted_items_pkey PRIMARY KEY (source_id)
        );
        COMMENT ON TABLE deleted_items IS
            'Source items whose items were deleted from multimodal_items by hand or by another '
            'tool: they get none until their content changes, or their row here is deleted.';
        COMMENT ON COLUMN deleted_items.source_id IS 'The source item.';
        COMMENT ON COLUMN deleted_items.deleted_at IS 'When its item was deleted.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE deleted_items")
