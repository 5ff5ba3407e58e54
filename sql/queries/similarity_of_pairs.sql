-- question:   How similar are the items of one source key, across modalities?
-- parameters: k
-- index:      source item of the items
\set k 10

SELECT s.source_key, 1 - (t.embedding <=> i.embedding) AS similarity
FROM source_items AS s
JOIN source_items AS p ON p.source_key = s.source_key AND p.source = 'images'
JOIN multimodal_items AS t ON t.source_id = s.id AND t.modality = 'text'
JOIN multimodal_items AS i ON i.source_id = p.id AND i.modality = 'image'
WHERE s.source = 'texts'
ORDER BY s.id
LIMIT :k;
