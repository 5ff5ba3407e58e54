-- question:   Does the index find what an exact search finds, for this text?
-- parameters: query, k
-- index:      HNSW of the images, and none for the exact half
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

WITH query AS MATERIALIZED (SELECT text_embedding(:'query') AS embedding),
by_index AS MATERIALIZED (
    SELECT id FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> (SELECT embedding FROM query)
    LIMIT :k
),
exact AS MATERIALIZED (
    SELECT id FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY (embedding <=> (SELECT embedding FROM query)) + 0  -- no index serves a sum
    LIMIT :k
)
SELECT count(*) FILTER (WHERE e.id IN (SELECT id FROM by_index))::real / :k AS recall
FROM exact AS e;
