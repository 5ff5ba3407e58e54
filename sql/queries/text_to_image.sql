-- question:   Which images show what this text says?
-- parameters: query, k
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

-- Where the index ends early or leads to many equal items, of which it need not know all, an exact
-- comparison finds the rest. For the pages
-- that come after, see next_page.sql.
WITH candidates AS MATERIALIZED (
    SELECT id, content_ref, embedding <=> (SELECT text_embedding(:'query')) AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> (SELECT text_embedding(:'query')), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, content_ref, (embedding <=> (SELECT text_embedding(:'query'))) + 0 AS distance
    FROM multimodal_items
    WHERE modality = 'image'
      AND ((SELECT count(*) FROM candidates
            WHERE distance < (SELECT max(distance) FROM candidates)) < :k
           OR EXISTS (SELECT FROM candidates GROUP BY distance HAVING count(*) >= 5))
    ORDER BY distance, id
    LIMIT :k
)
SELECT id, content_ref, 1 - distance AS similarity
FROM (SELECT * FROM candidates UNION SELECT * FROM rest) AS found
ORDER BY distance, id
LIMIT :k;
