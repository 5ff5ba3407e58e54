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

WITH query AS MATERIALIZED (
    SELECT blend_embeddings(array_agg(embedding::halfvec)) AS embedding
    FROM multimodal_items WHERE id IN (:first, :second, :third)
)
SELECT id, content_ref, 1 - (embedding <=> (SELECT embedding FROM query)) AS similarity
FROM multimodal_items
WHERE modality = 'image' AND id NOT IN (:first, :second, :third)
ORDER BY embedding <=> (SELECT embedding FROM query)
LIMIT :k;
