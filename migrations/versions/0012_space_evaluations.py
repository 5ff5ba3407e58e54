"""What was measured of a space: recall of its indexes, retrieval of its model, and tuned values."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE embedding_spaces ADD COLUMN probed_with jsonb;
        COMMENT ON COLUMN embedding_spaces.probed_with IS
            'Versions of the libraries that embedded the probes.';

        CREATE TABLE space_evaluations (
            id             bigint GENERATED ALWAYS AS IDENTITY,
            space_id       integer NOT NULL,
            measured_at    timestamptz NOT NULL DEFAULT now(),
            metric         text NOT NULL,
            query_modality text NOT NULL,
            item_modality  text NOT NULL,
            condition      text NOT NULL,
            ef_search      integer,
            queries        integer NOT NULL,
            value          double precision NOT NULL,
            milliseconds   double precision,
            CONSTRAINT space_evaluations_pkey PRIMARY KEY (id),
            CONSTRAINT space_evaluations_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        CREATE INDEX space_evaluations_latest ON space_evaluations (space_id, measured_at);
        COMMENT ON TABLE space_evaluations IS
            'Measured quality of spaces over time: one row per metric and modality pair.';
        COMMENT ON COLUMN space_evaluations.id IS 'Number of the measurement.';
        COMMENT ON COLUMN space_evaluations.space_id IS 'The space.';
        COMMENT ON COLUMN space_evaluations.measured_at IS
            'When; equal for the rows of one measurement.';
        COMMENT ON COLUMN space_evaluations.metric IS
            'recall@k of the index, or R@k, median_rank, ndcg@k of retrieval.';
        COMMENT ON COLUMN space_evaluations.query_modality IS
            'What was searched with: text, image or any.';
        COMMENT ON COLUMN space_evaluations.item_modality IS
            'What was searched for: text, image or any.';
        COMMENT ON COLUMN space_evaluations.condition IS
            'Which filter or which pairs: none, 1 %, pairs by KEY.';
        COMMENT ON COLUMN space_evaluations.ef_search IS 'The ef_search; null: exact search.';
        COMMENT ON COLUMN space_evaluations.queries IS 'How many queries were asked.';
        COMMENT ON COLUMN space_evaluations.value IS 'The mean over the queries.';
        COMMENT ON COLUMN space_evaluations.milliseconds IS 'Median time of a query.';

        CREATE TABLE space_tunings (
            space_id       integer NOT NULL,
            query_modality text NOT NULL,
            item_modality  text NOT NULL,
            ef_search      integer NOT NULL,
            target_recall  real NOT NULL,
            recall         real NOT NULL,
            milliseconds   real NOT NULL,
            tuned_at       timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT space_tunings_pkey PRIMARY KEY (space_id, query_modality, item_modality),
            CONSTRAINT space_tunings_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE space_tunings IS
            'The least ef_search that reaches the wanted recall, per modality pair.';
        COMMENT ON COLUMN space_tunings.space_id IS 'The space.';
        COMMENT ON COLUMN space_tunings.query_modality IS 'What is searched with.';
        COMMENT ON COLUMN space_tunings.item_modality IS 'What is searched for.';
        COMMENT ON COLUMN space_tunings.ef_search IS 'HNSW''s ef_search to use.';
        COMMENT ON COLUMN space_tunings.target_recall IS 'The recall@k that was wanted.';
        COMMENT ON COLUMN space_tunings.recall IS 'The recall@k that was measured with it.';
        COMMENT ON COLUMN space_tunings.milliseconds IS 'Median time of a query with it.';
        COMMENT ON COLUMN space_tunings.tuned_at IS 'When.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE space_tunings, space_evaluations;
        ALTER TABLE embedding_spaces DROP COLUMN probed_with;
        """
    )
