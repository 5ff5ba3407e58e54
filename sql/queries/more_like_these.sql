-- question:   What is like all of these images together?
-- parameters: first, second, third, k
-- index:      HNSW of the images
\if :{?first}
\else
SELECT coalesce(ids[1], 0) AS first, coalesce(ids[2], 0) AS second, coalesce(ids[3], 0) AS third
FROM (
    SELECT array_agg(id) AS ids FROM (
        SELECT id FROM multimodal_items WHERE modality = 'image' ORDER BY id LIMIT 3
    ) AS three
) AS found
\gset
\endif
\if :{?k} \else \set k 10 \endif

-- Where the index ends early or leads to many equal items, of which it need not know all, an exact
-- comparison finds the rest.
WITH query AS MATERIALIZED (
    SELECT blend_embeddings(array_agg(embedding::halfvec)) AS embedding
    FROM multimodal_items WHERE id IN (:first, :second, :third)
),
candidates AS MATERIALIZED (
    SELECT id, content_ref, embedding <=> (SELECT embedding FROM query) AS distance
    FROM multimodal_items
    WHERE modality = 'image' AND id NOT IN (:first, :second, :third)
    ORDER BY embedding <=> (SELECT embedding FROM query), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, content_ref, (embedding <=> (SELECT embedding FROM query)) + 0 AS distance
    FROM multimodal_items
    WHERE modality = 'image' AND id NOT IN (:first, :second, :third)
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
