-- The spaces: what each holds, and whether it can be searched well.

CREATE OR REPLACE VIEW @schema@.space_status AS
SELECT s.name AS space, s.state, s.model, s.dimensions, s.vector_type, s.precision,
       i.modality, i.items, i.table_bytes, i.index_bytes, i.index_is_valid,
       coalesce(m.ef_search, s.ef_search) AS ef_search, m.recall, m.measured_at,
       CASE WHEN s.state = 'active' THEN @schema@.is_served(s.id) END AS is_served
FROM @schema@.embedding_spaces AS s
JOIN @schema@.space_items() AS i ON i.space_id = s.id
JOIN @schema@.space_modalities AS m ON m.space_id = s.id AND m.modality = i.modality;

COMMENT ON VIEW @schema@.space_status IS 'The embedding spaces with their tables and indexes.';
COMMENT ON COLUMN @schema@.space_status.space IS 'The space''s name.';
COMMENT ON COLUMN @schema@.space_status.state IS 'building, active or retired.';
COMMENT ON COLUMN @schema@.space_status.model IS 'The model, such as ViT-B-32/openai.';
COMMENT ON COLUMN @schema@.space_status.dimensions IS 'Dimensions of its vectors.';
COMMENT ON COLUMN @schema@.space_status.vector_type IS 'halfvec or vector.';
COMMENT ON COLUMN @schema@.space_status.precision IS 'Precision of the model''s weights.';
COMMENT ON COLUMN @schema@.space_status.modality IS 'One of the space''s.';
COMMENT ON COLUMN @schema@.space_status.items IS 'Items there are.';
COMMENT ON COLUMN @schema@.space_status.table_bytes IS 'Size of the table with its TOAST.';
COMMENT ON COLUMN @schema@.space_status.index_bytes IS
    'Size of the HNSW index; null: not built yet.';
COMMENT ON COLUMN @schema@.space_status.index_is_valid IS 'Whether the HNSW index can be used.';
COMMENT ON COLUMN @schema@.space_status.ef_search IS
    'HNSW''s ef_search that searches use at least.';
COMMENT ON COLUMN @schema@.space_status.recall IS 'Last measured recall@10 of the index.';
COMMENT ON COLUMN @schema@.space_status.measured_at IS 'When the statistics were taken.';
COMMENT ON COLUMN @schema@.space_status.is_served IS
    'Whether `pipeline serve` embeds new query texts now; null: not the active space.';
