-- question:   Which texts describe this stored image?
-- parameters: image, k
-- index:      HNSW of the texts
\set image 20001
\set k 10

SELECT id, content_ref, 1 - (embedding <=> item_embedding(:image)) AS similarity
FROM multimodal_items
WHERE modality = 'text'
ORDER BY embedding <=> item_embedding(:image)
LIMIT :k;
