"""What each worker's stages did lately: which of them holds up the others."""

from alembic import op

revision = "pipeline_0019_ingest_workers"
down_revision = "pipeline_0018_ingest_runs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ingest_workers (
            worker   text NOT NULL,
            space_id integer NOT NULL,
            seen_at  timestamptz NOT NULL DEFAULT now(),
            seconds  double precision NOT NULL,
            stages   jsonb NOT NULL,
            CONSTRAINT ingest_workers_pkey PRIMARY KEY (worker),
            CONSTRAINT ingest_workers_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE,
            CONSTRAINT ingest_workers_stages_is_array CHECK (jsonb_typeof(stages) = 'array')
        );

        COMMENT ON TABLE ingest_workers IS
            'What the stages of workers did lately, as their heartbeats say; of an hour at most.';
        COMMENT ON COLUMN ingest_workers.worker IS 'The worker, as ingest_jobs names it.';
        COMMENT ON COLUMN ingest_workers.space_id IS 'The space that it fills.';
        COMMENT ON COLUMN ingest_workers.seen_at IS 'When it said so.';
        COMMENT ON COLUMN ingest_workers.seconds IS 'Of the time of which it spoke, until then.';
        COMMENT ON COLUMN ingest_workers.stages IS
            'Of each stage the shares of that time in which it worked, and in which the others '
            'waited for it.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE ingest_workers;")
