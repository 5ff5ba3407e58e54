"""Embedding spaces: one model each, at most one active; their modalities, probes and figures."""

from alembic import op

revision = "pipeline_0002_embedding_spaces"
down_revision = "pipeline_0001_source_items"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE embedding_spaces (
            id                   integer GENERATED ALWAYS AS IDENTITY,
            name                 text NOT NULL,
            state                text NOT NULL,
            model                text NOT NULL,
            dimensions           integer NOT NULL,
            vector_type          text NOT NULL,
            precision            text NOT NULL,
            context_length       integer NOT NULL,
            weights_sha256       text NOT NULL,
            fingerprint          text NOT NULL,
            description          jsonb NOT NULL,
            hnsw_m               integer NOT NULL,
            hnsw_ef_construction integer NOT NULL,
            ef_search            integer NOT NULL DEFAULT 100,
            created_at           timestamptz NOT NULL DEFAULT now(),
            activated_at         timestamptz,
            retired_at           timestamptz,
            probed_with          jsonb,
            CONSTRAINT embedding_spaces_pkey PRIMARY KEY (id),
            CONSTRAINT embedding_spaces_name_unique UNIQUE (name),
            CONSTRAINT embedding_spaces_name_plain CHECK (name ~ '^[a-z][a-z0-9_]{0,39}$'),
            CONSTRAINT embedding_spaces_state_known
                CHECK (state IN ('building', 'active', 'retired')),
            CONSTRAINT embedding_spaces_vector_type_known
                CHECK (vector_type IN ('halfvec', 'vector')),
            CONSTRAINT embedding_spaces_dimensions_positive CHECK (dimensions > 0)
        );
        CREATE UNIQUE INDEX embedding_spaces_one_active
            ON embedding_spaces (state) WHERE state = 'active';
        CREATE UNIQUE INDEX embedding_spaces_one_building
            ON embedding_spaces (state) WHERE state = 'building';

        COMMENT ON TABLE embedding_spaces IS
            'Embedding spaces: exactly one model each, at most one of them active.';
        COMMENT ON COLUMN embedding_spaces.id IS 'Number of the space.';
        COMMENT ON COLUMN embedding_spaces.name IS 'Short name, used on the command line.';
        COMMENT ON COLUMN embedding_spaces.state IS 'building, active or retired.';
        COMMENT ON COLUMN embedding_spaces.model IS
            'The model as asked for, such as ViT-B-32/openai.';
        COMMENT ON COLUMN embedding_spaces.dimensions IS 'Dimensions of every vector of the space.';
        COMMENT ON COLUMN embedding_spaces.vector_type IS 'halfvec or vector.';
        COMMENT ON COLUMN embedding_spaces.precision IS 'Precision of the model''s weights.';
        COMMENT ON COLUMN embedding_spaces.context_length IS 'Tokens a text may have.';
        COMMENT ON COLUMN embedding_spaces.weights_sha256 IS 'SHA-256 of the weights.';
        COMMENT ON COLUMN embedding_spaces.fingerprint IS
            'SHA-256 over everything that makes two vectors comparable.';
        COMMENT ON COLUMN embedding_spaces.description IS
            'What the fingerprint covers, spelled out: preprocessing, tokenizer and so on.';
        COMMENT ON COLUMN embedding_spaces.hnsw_m IS 'HNSW: links per node.';
        COMMENT ON COLUMN embedding_spaces.hnsw_ef_construction IS
            'HNSW: candidates while building.';
        COMMENT ON COLUMN embedding_spaces.ef_search IS
            'HNSW: candidates while searching, unless tuned.';
        COMMENT ON COLUMN embedding_spaces.created_at IS 'When the space was created.';
        COMMENT ON COLUMN embedding_spaces.activated_at IS 'When it last became active.';
        COMMENT ON COLUMN embedding_spaces.retired_at IS 'When it last ceased to be.';
        COMMENT ON COLUMN embedding_spaces.probed_with IS
            'Versions of the libraries that embedded the probes.';

        CREATE TABLE space_modalities (
            space_id    integer NOT NULL,
            modality    text NOT NULL,
            item_count  bigint NOT NULL DEFAULT 0,
            mean        halfvec,
            recall      real,
            ef_search   integer,
            measured_at timestamptz,
            CONSTRAINT space_modalities_pkey PRIMARY KEY (space_id, modality),
            CONSTRAINT space_modalities_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE,
            CONSTRAINT space_modalities_modality_fkey FOREIGN KEY (modality)
                REFERENCES known_modalities (name)
        );
        COMMENT ON TABLE space_modalities IS
            'The modalities a space embeds, with statistics for ranking and tuning.';
        COMMENT ON COLUMN space_modalities.space_id IS 'The space.';
        COMMENT ON COLUMN space_modalities.modality IS 'One of known_modalities.';
        COMMENT ON COLUMN space_modalities.item_count IS 'Items when the statistics were taken.';
        COMMENT ON COLUMN space_modalities.mean IS
            'Mean vector, for calibrated ranking across modalities.';
        COMMENT ON COLUMN space_modalities.recall IS 'Last measured recall@10.';
        COMMENT ON COLUMN space_modalities.ef_search IS 'Tuned ef_search for this modality.';
        COMMENT ON COLUMN space_modalities.measured_at IS 'When they were taken.';

        CREATE TABLE space_probes (
            space_id  integer NOT NULL,
            probe     smallint NOT NULL,
            modality  text NOT NULL,
            content   bytea NOT NULL,
            embedding real[] NOT NULL,
            CONSTRAINT space_probes_pkey PRIMARY KEY (space_id, probe),
            CONSTRAINT space_probes_space_id_fkey FOREIGN KEY (space_id)
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE space_probes IS
            'Stored inputs with their vectors; workers embed them again.';
        COMMENT ON COLUMN space_probes.space_id IS 'The space.';
        COMMENT ON COLUMN space_probes.probe IS 'Number of the probe.';
        COMMENT ON COLUMN space_probes.modality IS 'One of the space''s.';
        COMMENT ON COLUMN space_probes.content IS 'The text in UTF-8, or the bytes of the file.';
        COMMENT ON COLUMN space_probes.embedding IS
            'The vector, float32, when the space was created.';

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
            'What was searched with: a modality, or any.';
        COMMENT ON COLUMN space_evaluations.item_modality IS
            'What was searched for: a modality, or any.';
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
        DROP TABLE space_tunings, space_evaluations, space_probes, space_modalities,
            embedding_spaces
        """
    )
