-- question:   Which items have these very words?
-- parameters: words, k
-- index:      GIN of the words
\if :{?words} \else \set words 'pizza or taco or waffle' \endif
\if :{?k} \else \set k 10 \endif

SELECT id, modality, content_ref, metadata ->> 'caption' AS caption
FROM source_items
WHERE item_document(modality, content_ref, metadata) @@ websearch_to_tsquery('english', :'words')
ORDER BY id
LIMIT :k;
