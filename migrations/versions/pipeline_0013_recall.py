"""The recall that a space is to have, and what of it was measured when."""

from alembic import op

revision = "pipeline_0013_recall"
down_revision = "pipeline_0012_attached_seen"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE embedding_spaces
            ADD COLUMN target_recall real NOT NULL DEFAULT 0.95,
            ADD CONSTRAINT embedding_spaces_target_recall_is_share
                CHECK (target_recall > 0 AND target_recall <= 1);
        COMMENT ON COLUMN embedding_spaces.target_recall IS
            'The recall@10 that its indexes are to have; ef_search is chosen by it.';

        ALTER TABLE space_tunings
            ADD COLUMN items bigint,
            ADD COLUMN queries integer,
            ADD COLUMN graph bigint;
        COMMENT ON COLUMN space_tunings.items IS 'Items that were searched among.';
        COMMENT ON COLUMN space_tunings.queries IS 'Queries that there were to measure with.';
        COMMENT ON COLUMN space_tunings.graph IS
            'Number of the index''s file: another once rebuilt.';

        ALTER TABLE space_evaluations ADD COLUMN items bigint;
        COMMENT ON COLUMN space_evaluations.items IS 'Items that were searched among.';

        ALTER TABLE installed_sql ADD COLUMN ef_search integer;
        COMMENT ON COLUMN installed_sql.ef_search IS
            'What a measurement made the database''s default of hnsw.ef_search; null: nothing.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE installed_sql DROP COLUMN ef_search;
        ALTER TABLE space_evaluations DROP COLUMN items;
        ALTER TABLE space_tunings DROP COLUMN graph, DROP COLUMN queries, DROP COLUMN items;
        ALTER TABLE embedding_spaces DROP COLUMN target_recall;
        """
    )
