-- question:   What are the best images of every category?
-- parameters: query, key, per_group
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?key} \else \set key group \endif
\if :{?per_group} \else \set per_group 3 \endif

WITH candidates AS MATERIALIZED (
    SELECT id, metadata ->> :'key' AS value, content_ref,
           embedding <=> text_embedding(:'query') AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> text_embedding(:'query')
    LIMIT 200
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY value ORDER BY distance) AS place
    FROM candidates
)
SELECT value, place, content_ref, 1 - distance AS similarity
FROM placed WHERE place <= :per_group
ORDER BY value, place;
