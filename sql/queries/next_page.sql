-- question:   What comes after the last row of the page before?
-- parameters: query, last_distance, last_id, k
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif
\if :{?last_distance}
\else
-- The last row of the first page.
SELECT distance AS last_distance, id AS last_id
FROM (
    SELECT id, embedding <=> text_embedding(:'query') AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> text_embedding(:'query')
    LIMIT :k
) AS page
ORDER BY distance DESC, id DESC
LIMIT 1
\gset
\endif

-- Pages by distance, then id: an OFFSET would find and drop every row before. The materialized
-- candidates are sorted again, as a filtered index scan may swap near neighbours. Where the index
-- ends before the items do, or amid equal ones, the page is found without it.
WITH candidates AS MATERIALIZED (
    SELECT id, content_ref, embedding <=> (SELECT text_embedding(:'query')) AS distance
    FROM multimodal_items
    WHERE modality = 'image'
      AND (embedding <=> (SELECT text_embedding(:'query')), id) > (:last_distance, :last_id)
    ORDER BY embedding <=> (SELECT text_embedding(:'query')), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, content_ref, (embedding <=> (SELECT text_embedding(:'query'))) + 0 AS distance
    FROM multimodal_items
    WHERE (SELECT count(*) FROM candidates
           WHERE distance < (SELECT max(distance) FROM candidates)) < :k
      AND modality = 'image'
      AND (embedding <=> (SELECT text_embedding(:'query')), id) > (:last_distance, :last_id)
    ORDER BY distance, id
    LIMIT :k
)
SELECT id, content_ref, distance FROM candidates
UNION
SELECT id, content_ref, distance FROM rest
ORDER BY distance, id
LIMIT :k;

-- So that the next query in this session begins with its own first page.
\unset last_distance
\unset last_id
