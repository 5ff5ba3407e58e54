-- What failed, and why.

CREATE OR REPLACE VIEW @schema@.ingest_failures AS
SELECT s.name AS space, j.source_id, i.source, i.source_key, i.modality, j.error_code, j.error,
       j.attempts, j.state, i.content_ref
-- In the order in which TRUNCATE locks them.
FROM @schema@.source_items AS i
JOIN @schema@.ingest_jobs AS j ON j.source_id = i.id
JOIN @schema@.embedding_spaces AS s ON s.id = j.space_id
WHERE j.error_code IS NOT NULL;

COMMENT ON VIEW @schema@.ingest_failures IS
    'Source items whose last attempt failed: given up (failed) or to be tried again (pending).';
COMMENT ON COLUMN @schema@.ingest_failures.space IS 'The space''s name.';
COMMENT ON COLUMN @schema@.ingest_failures.source_id IS 'Number of the source item.';
COMMENT ON COLUMN @schema@.ingest_failures.source IS 'Where it comes from.';
COMMENT ON COLUMN @schema@.ingest_failures.source_key IS 'Its key there.';
COMMENT ON COLUMN @schema@.ingest_failures.modality IS 'Its modality.';
COMMENT ON COLUMN @schema@.ingest_failures.error_code IS
    'Short code; docs/errors.md explains each.';
COMMENT ON COLUMN @schema@.ingest_failures.error IS 'What happened and what to do.';
COMMENT ON COLUMN @schema@.ingest_failures.attempts IS 'How often it was tried.';
COMMENT ON COLUMN @schema@.ingest_failures.state IS
    'failed: given up; pending: will be tried again.';
COMMENT ON COLUMN @schema@.ingest_failures.content_ref IS
    'The text itself, or the path or URI of the content.';
