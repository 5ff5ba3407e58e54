"""The queue: narrow, short-lived rows, apart from the vectors (an update there re-enters HNSW)."""

from alembic import op

revision = "pipeline_0004_ingest_jobs"
down_revision = "pipeline_0003_multimodal_items"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE SEQUENCE ingest_job_versions AS bigint CACHE 64;
        CREATE TABLE ingest_jobs (
            space_id     integer NOT NULL,
            source_id    bigint NOT NULL,
            state        text NOT NULL DEFAULT 'pending',
            attempts     smallint NOT NULL DEFAULT 0,
            error_code   text,
            error        text,
            run_after    timestamptz NOT NULL DEFAULT now(),
            leased_until timestamptz,
            worker       text,
            version      bigint NOT NULL DEFAULT nextval('ingest_job_versions'),
            CONSTRAINT ingest_jobs_pkey PRIMARY KEY (space_id, source_id),
            CONSTRAINT ingest_jobs_state_known CHECK (state IN ('pending', 'running', 'failed')),
            CONSTRAINT ingest_jobs_running_is_leased
                CHECK ((state = 'running') = (leased_until IS NOT NULL AND worker IS NOT NULL)),
            CONSTRAINT ingest_jobs_failed_has_code
                CHECK (state <> 'failed' OR error_code IS NOT NULL)
        ) WITH (
            -- Room for the claim and the heartbeat on the page, and a vacuum that keeps up with
            -- rows that live for seconds: dead rows slow every later claim down.
            fillfactor = 70,
            autovacuum_vacuum_scale_factor = 0.01,
            autovacuum_vacuum_threshold = 1000,
            autovacuum_vacuum_cost_delay = 0,
            autovacuum_vacuum_insert_scale_factor = 0.2,
            autovacuum_analyze_scale_factor = 0.05
        );
        ALTER SEQUENCE ingest_job_versions OWNED BY ingest_jobs.version;
        CREATE INDEX ingest_jobs_pending
            ON ingest_jobs (space_id, run_after, source_id) WHERE state = 'pending';
        CREATE INDEX ingest_jobs_running
            ON ingest_jobs (space_id, source_id) WHERE state = 'running';

        COMMENT ON TABLE ingest_jobs IS
            'The queue: one job per space and source item; finished ones are deleted.';
        COMMENT ON COLUMN ingest_jobs.space_id IS 'The space to embed into.';
        COMMENT ON COLUMN ingest_jobs.source_id IS 'The source item to embed.';
        COMMENT ON COLUMN ingest_jobs.state IS 'pending, running or failed.';
        COMMENT ON COLUMN ingest_jobs.attempts IS 'Claims so far; counted at the claim.';
        COMMENT ON COLUMN ingest_jobs.error_code IS 'Short code of the last failure.';
        COMMENT ON COLUMN ingest_jobs.error IS 'What happened and what to do.';
        COMMENT ON COLUMN ingest_jobs.run_after IS 'Not to be claimed before.';
        COMMENT ON COLUMN ingest_jobs.leased_until IS 'When the claim lapses.';
        COMMENT ON COLUMN ingest_jobs.worker IS 'Who holds the claim.';
        COMMENT ON COLUMN ingest_jobs.version IS
            'Fence: never the same again once the source item has changed.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE ingest_jobs")
