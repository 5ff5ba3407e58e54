-- question:   What is nearest over both modalities, by similarity alone?
-- parameters: query, k
-- index:      HNSW of the images, HNSW of the texts
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

SELECT id, modality, content_ref, embedding <=> text_embedding(:'query') AS distance
FROM multimodal_items
ORDER BY embedding <=> text_embedding(:'query')
LIMIT :k;
