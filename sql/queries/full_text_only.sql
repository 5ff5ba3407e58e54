-- question:   Which items have these very words?
-- parameters: words, k
-- index:      GIN of the words
\set words 'number 77 or number 78 or number 79'
\set k 10

SELECT id, modality, content_ref, metadata ->> 'caption' AS caption
FROM source_items
WHERE item_document(modality, content_ref, metadata) @@ websearch_to_tsquery('english', :'words')
ORDER BY id
LIMIT :k;
