-- question:   Which items have these very words?
-- parameters: words, k
-- index:      GIN of the words
\if :{?words} \else \set words 'pizza or taco or waffle' \endif
\if :{?k} \else \set k 10 \endif

-- The index is asked for the words in every language, then each row in its own.
SELECT id, modality, content_ref, metadata ->> 'caption' AS caption
FROM source_items
WHERE item_document(modality, content_ref, metadata) @@ words_of_any(:'words')
  AND item_document(modality, content_ref, metadata) @@ words_of(:'words', metadata)
ORDER BY id
LIMIT :k;
