-- question:   What are the best images of every category?
-- parameters: query, k
-- index:      HNSW of the images
\set query 'a red bicycle'
\set k 3

WITH candidates AS MATERIALIZED (
    SELECT id, metadata ->> 'category' AS category, content_ref,
           embedding <=> text_embedding(:'query') AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> text_embedding(:'query')
    LIMIT 200
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY category ORDER BY distance) AS place
    FROM candidates
)
SELECT category, place, content_ref, 1 - distance AS similarity
FROM placed WHERE place <= :k
ORDER BY category, place;
