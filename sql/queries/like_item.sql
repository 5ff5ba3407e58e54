-- question:   What else looks like this stored image?
-- parameters: item, k
-- index:      HNSW of the images
\set item 20001
\set k 10

SELECT id, content_ref, 1 - (embedding <=> item_embedding(:item)) AS similarity
FROM multimodal_items
WHERE modality = 'image' AND id <> :item
ORDER BY embedding <=> item_embedding(:item)
LIMIT :k;
