-- question:   Which text is the nearest to each of these images?
-- parameters: filter
-- index:      HNSW of the texts, once per image
\if :{?filter} \else \set filter '{"group": "food-drink"}' \endif

SELECT p.id, p.content_ref AS image, t.content_ref AS text, t.similarity
FROM multimodal_items AS p
CROSS JOIN LATERAL (
    SELECT i.content_ref, 1 - (i.embedding <=> p.embedding) AS similarity
    FROM multimodal_items AS i
    WHERE i.modality = 'text'
    ORDER BY i.embedding <=> p.embedding
    LIMIT 1
) AS t
WHERE p.modality = 'image' AND p.metadata @> :'filter'
ORDER BY p.id;
