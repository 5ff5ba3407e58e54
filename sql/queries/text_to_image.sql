-- question:   Which images show what this text says?
-- parameters: query, k
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

SELECT id, content_ref, 1 - (embedding <=> text_embedding(:'query')) AS similarity
FROM multimodal_items
WHERE modality = 'image'
ORDER BY embedding <=> text_embedding(:'query')
LIMIT :k;
