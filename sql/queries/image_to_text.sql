-- question:   Which texts describe this stored image?
-- parameters: item, k
-- index:      HNSW of the texts
\if :{?item}
\else
SELECT coalesce(min(id), 0) AS item FROM multimodal_items WHERE modality = 'image'
\gset
\endif
\if :{?k} \else \set k 10 \endif

SELECT id, content_ref, 1 - (embedding <=> item_embedding(:item)) AS similarity
FROM multimodal_items
WHERE modality = 'text'
ORDER BY embedding <=> item_embedding(:item)
LIMIT :k;
