-- question:   A dog, but not a puppy: what is like one text and unlike another?
-- parameters: query, unlike, k
-- index:      HNSW of the images
\set query 'a dog'
\set unlike 'a puppy'
\set k 10

WITH query AS MATERIALIZED (
    SELECT blend_embeddings(
        ARRAY[text_embedding(:'query'), text_embedding(:'unlike')], ARRAY[1, -0.5]) AS embedding
)
SELECT id, content_ref, 1 - (embedding <=> text_embedding(:'query')) AS similarity
FROM multimodal_items
WHERE modality = 'image'
ORDER BY embedding <=> (SELECT embedding FROM query)
LIMIT :k;
