-- question:   Which items have these very words?
-- parameters: words, k
-- index:      GIN of the words
\set words 'number 77 or number 78 or number 79'
\set k 10

-- The index is asked for the words in every language, then each row in its own.
SELECT id, modality, content_ref, metadata ->> 'caption' AS caption
FROM source_items
WHERE item_document(modality, content_ref, metadata) @@ words_of_any(:'words')
  AND item_document(modality, content_ref, metadata) @@ words_of(:'words', metadata)
ORDER BY id
LIMIT :k;
