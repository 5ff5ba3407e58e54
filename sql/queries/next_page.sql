-- question:   Which images show what this text says, page by page?
-- parameters: query, last_distance, last_id, k
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?last_distance} \else \set last_distance -1 \endif
\if :{?last_id} \else \set last_id 0 \endif
\if :{?k} \else \set k 10 \endif

-- The first page; for the next set last_distance and last_id to those of the last row. Pages go by
-- distance, then id: an OFFSET would find and drop every row before. The materialized candidates
-- are sorted again, as a filtered index scan may swap near neighbours. Where the index ends before
-- the items do, or amid equal ones, the page is found without it.
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
    WHERE ((SELECT count(*) FROM candidates
            WHERE distance < (SELECT max(distance) FROM candidates)) < :k
           OR EXISTS (SELECT FROM candidates GROUP BY distance HAVING count(*) >= 5))
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
