-- question:   What comes after the last row of the page before?
-- parameters: query, last_distance, last_id, k
-- index:      HNSW of the images
\set query 'a red bicycle'
\set last_distance 0.66
\set last_id 0
\set k 10

-- Pages by distance: an OFFSET would find and drop every row before. The materialized candidates
-- are sorted again, as a filtered index scan may swap near neighbours.
WITH candidates AS MATERIALIZED (
    SELECT id, content_ref, embedding <=> text_embedding(:'query') AS distance
    FROM multimodal_items
    WHERE modality = 'image'
      AND embedding <=> text_embedding(:'query') >= :last_distance
    ORDER BY embedding <=> text_embedding(:'query')
    LIMIT :k + 10
)
SELECT id, content_ref, distance
FROM candidates
WHERE (distance, id) > (:last_distance, :last_id)
ORDER BY distance, id
LIMIT :k;
