-- How far the ingestion is. Like every view here it leaves the vector column alone, which would
-- stand in the way of activating a space of other dimensions.

CREATE OR REPLACE VIEW @schema@.ingest_status AS
SELECT s.name AS space, s.state, modality, coalesce(i.items, 0) AS items,
       coalesce(j.pending, 0) AS pending, coalesce(j.running, 0) AS running,
       coalesce(j.failed, 0) AS failed, j.oldest_pending,
       coalesce(i.per_minute, 0) AS per_minute
FROM @schema@.space_items() AS i
-- A modality that the space derives has no table before its first item.
FULL JOIN (
    SELECT jobs.space_id, source.modality,
           count(*) FILTER (WHERE jobs.state = 'pending') AS pending,
           count(*) FILTER (WHERE jobs.state = 'running') AS running,
           count(*) FILTER (WHERE jobs.state = 'failed') AS failed,
           now() - min(source.updated_at) FILTER (WHERE jobs.state = 'pending')
               AS oldest_pending
    -- In the order in which TRUNCATE locks them.
    FROM @schema@.source_items AS source
    JOIN @schema@.ingest_jobs AS jobs ON jobs.source_id = source.id
    GROUP BY jobs.space_id, source.modality
) AS j USING (space_id, modality)
JOIN @schema@.embedding_spaces AS s ON s.id = space_id;

COMMENT ON VIEW @schema@.ingest_status IS 'How far the ingestion is, per space and modality.';
COMMENT ON COLUMN @schema@.ingest_status.space IS 'The space''s name.';
COMMENT ON COLUMN @schema@.ingest_status.state IS 'building, active or retired.';
COMMENT ON COLUMN @schema@.ingest_status.modality IS 'One of the space''s.';
COMMENT ON COLUMN @schema@.ingest_status.items IS
    'Items there are; above a million as of the last ANALYZE.';
COMMENT ON COLUMN @schema@.ingest_status.pending IS 'Jobs that wait.';
COMMENT ON COLUMN @schema@.ingest_status.running IS 'Jobs that a worker holds.';
COMMENT ON COLUMN @schema@.ingest_status.failed IS 'Jobs given up; see ingest_failures.';
COMMENT ON COLUMN @schema@.ingest_status.oldest_pending IS
    'How long ago the source item changed whose job waits longest.';
COMMENT ON COLUMN @schema@.ingest_status.per_minute IS
    'Source items embedded per minute over the last quarter hour, or since work began within it.';
