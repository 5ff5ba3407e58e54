-- question:   What is nearest over both modalities, by similarity alone?
-- parameters: query, k
-- index:      HNSW of the images, HNSW of the texts
\set query 'a red bicycle'
\set k 10

SELECT id, modality, content_ref, embedding <=> text_embedding(:'query') AS distance
FROM multimodal_items
ORDER BY embedding <=> text_embedding(:'query')
LIMIT :k;
