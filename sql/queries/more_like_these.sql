-- question:   What is like all of these images together?
-- parameters: first, second, third, k
-- index:      HNSW of the images
\set first 20001
\set second 20002
\set third 20003
\set k 10

WITH query AS MATERIALIZED (
    SELECT blend_embeddings(array_agg(embedding::halfvec)) AS embedding
    FROM multimodal_items WHERE id IN (:first, :second, :third)
)
SELECT id, content_ref, 1 - (embedding <=> (SELECT embedding FROM query)) AS similarity
FROM multimodal_items
WHERE modality = 'image' AND id NOT IN (:first, :second, :third)
ORDER BY embedding <=> (SELECT embedding FROM query)
LIMIT :k;
