-- question:   A dog, but not a puppy: what is like one text and unlike another?
-- parameters: like, unlike, k
-- index:      HNSW of the images
\if :{?like} \else \set like 'a dog' \endif
\if :{?unlike} \else \set unlike 'a puppy' \endif
\if :{?k} \else \set k 10 \endif

WITH query AS MATERIALIZED (
    SELECT blend_embeddings(
        ARRAY[text_embedding(:'like'), text_embedding(:'unlike')], ARRAY[1, -0.5]) AS embedding
)
SELECT id, content_ref, 1 - (embedding <=> text_embedding(:'like')) AS similarity
FROM multimodal_items
WHERE modality = 'image'
ORDER BY embedding <=> (SELECT embedding FROM query)
LIMIT :k;
