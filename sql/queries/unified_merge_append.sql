-- question:   What is nearest over both modalities, by similarity alone?
-- parameters: query, k
-- index:      HNSW of the images, HNSW of the texts
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

-- Where the index ends early or leads to many equal items, of which it need not know all, an exact
-- comparison finds the rest.
WITH candidates AS MATERIALIZED (
    SELECT id, modality, content_ref, embedding <=> (SELECT text_embedding(:'query')) AS distance
    FROM multimodal_items
    ORDER BY embedding <=> (SELECT text_embedding(:'query')), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, modality, content_ref,
        (embedding <=> (SELECT text_embedding(:'query'))) + 0 AS distance
    FROM multimodal_items
    WHERE ((SELECT count(*) FROM candidates
            WHERE distance < (SELECT max(distance) FROM candidates)) < :k
           OR EXISTS (SELECT FROM candidates GROUP BY distance HAVING count(*) >= 5))
    ORDER BY distance, id
    LIMIT :k
)
SELECT id, modality, content_ref, distance
FROM (SELECT * FROM candidates UNION SELECT * FROM rest) AS found
ORDER BY distance, id
LIMIT :k;
