-- question:   A dog, but not a puppy: what is like one text and unlike another?
-- parameters: like, unlike, k
-- index:      HNSW of the images
\if :{?like} \else \set like 'a dog' \endif
\if :{?unlike} \else \set unlike 'a puppy' \endif
\if :{?k} \else \set k 10 \endif

-- Where the index ends early or leads to many equal items, of which it need not know all, an exact
-- comparison finds the rest.
WITH query AS MATERIALIZED (
    SELECT blend_embeddings(
        ARRAY[text_embedding(:'like'), text_embedding(:'unlike')], ARRAY[1, -0.5]) AS embedding
),
candidates AS MATERIALIZED (
    SELECT id, content_ref, 1 - (embedding <=> (SELECT text_embedding(:'like'))) AS similarity,
        embedding <=> (SELECT embedding FROM query) AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> (SELECT embedding FROM query), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, content_ref, 1 - (embedding <=> (SELECT text_embedding(:'like'))) AS similarity,
        (embedding <=> (SELECT embedding FROM query)) + 0 AS distance
    FROM multimodal_items
    WHERE modality = 'image'
      AND ((SELECT count(*) FROM candidates
            WHERE distance < (SELECT max(distance) FROM candidates)) < :k
           OR EXISTS (SELECT FROM candidates GROUP BY distance HAVING count(*) >= 5))
    ORDER BY distance, id
    LIMIT :k
)
SELECT id, content_ref, similarity
FROM (SELECT * FROM candidates UNION SELECT * FROM rest) AS found
ORDER BY distance, id
LIMIT :k;
