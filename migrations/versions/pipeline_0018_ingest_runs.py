"""What each run of ingestion did, from when to when, and how it ended."""

from alembic import op

revision = "pipeline_0018_ingest_runs"
down_revision = "pipeline_0017_probe_roles"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ingest_runs (
            id        bigint GENERATED ALWAYS AS IDENTITY,
            space_id  integer NOT NULL,
            began_at  timestamptz NOT NULL,
            ended_at  timestamptz NOT NULL DEFAULT now(),
            worker    text,
            done      bigint NOT NULL,
            failed    bigint NOT NULL,
            retrying  bigint NOT NULL,
            items     bigint NOT NULL,
            reused    bigint NOT NULL,
            seconds   double precision NOT NULL,
            exit_code smallint NOT NULL,
            stopped   boolean NOT NULL,
            error     text,
            CONSTRAINT ingest_runs_pkey PRIMARY KEY (id),
            CONSTRAINT ingest_runs_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE,
            CONSTRAINT ingest_runs_began_before_it_ended CHECK (began_at <= ended_at),
            CONSTRAINT ingest_runs_error_has_code CHECK (error IS NULL OR exit_code <> 0)
        );
        CREATE INDEX ingest_runs_ended ON ingest_runs (ended_at);

        COMMENT ON TABLE ingest_runs IS
            'Reports of runs of ingestion that had something to do; one that was killed left none.';
        COMMENT ON COLUMN ingest_runs.id IS 'Number of the report.';
        COMMENT ON COLUMN ingest_runs.space_id IS 'The space that was filled.';
        COMMENT ON COLUMN ingest_runs.began_at IS 'When it began, before the model was loaded.';
        COMMENT ON COLUMN ingest_runs.ended_at IS 'When it ended.';
        COMMENT ON COLUMN ingest_runs.worker IS
            'The worker, as ingest_jobs names it; null: the run ended before there was one.';
        COMMENT ON COLUMN ingest_runs.done IS 'Source items embedded.';
        COMMENT ON COLUMN ingest_runs.failed IS 'Source items that failed for good.';
        COMMENT ON COLUMN ingest_runs.retrying IS 'Those that waited for another attempt.';
        COMMENT ON COLUMN ingest_runs.items IS 'Items written.';
        COMMENT ON COLUMN ingest_runs.reused IS 'Of these, whose vector was there already.';
        COMMENT ON COLUMN ingest_runs.seconds IS 'Of the worker, once the model was loaded.';
        COMMENT ON COLUMN ingest_runs.exit_code IS
            '0: done, or told to stop; 1: rows or the run failed; 75: try again later.';
        COMMENT ON COLUMN ingest_runs.stopped IS 'Whether it was told to stop.';
        COMMENT ON COLUMN ingest_runs.error IS
            'The kind of error that ended it, whose words are in its log; null: none did.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE ingest_runs;")
