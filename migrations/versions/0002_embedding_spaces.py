"""Embedding spaces: one model each, at most one active; their statistics and probes."""

from alembic import op

revision = "0002"
down_revision = "0001"
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
                REFERENCES embedding_spaces (id) ON DELETE CASCADE
        );
        COMMENT ON TABLE space_modalities IS
            'Per space and modality: statistics for ranking and tuning.';
        COMMENT ON COLUMN space_modalities.space_id IS 'The space.';
        COMMENT ON COLUMN space_modalities.modality IS 'text or image.';
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
        COMMENT ON COLUMN space_probes.modality IS 'text or image.';
        COMMENT ON COLUMN space_probes.content IS 'The text in UTF-8, or the picture''s file.';
        COMMENT ON COLUMN space_probes.embedding IS
            'The vector, float32, when the space was created.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE space_probes, space_modalities, embedding_spaces")
