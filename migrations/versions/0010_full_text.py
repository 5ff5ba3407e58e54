"""Full text over source items, for hybrid_search().

On source_items and not on the items: one index whatever the number of spaces, and activating a
space, which attaches partitions, has no index to build.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX source_items_document
            ON source_items USING gin (item_document(modality, content_ref, metadata))
        """
    )


def downgrade() -> None:
    op.execute("DROP INDEX source_items_document")
