-- question:   Which images of this category show what the text says?
-- parameters: query, key, value, k
-- index:      inside search_items()
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?key} \else \set key group \endif
\if :{?value} \else \set value food-drink \endif
\if :{?k} \else \set k 10 \endif

-- search_items() compares all matches exactly where they are few, and else uses the index.
SELECT rank, content_ref, metadata ->> :'key' AS value, similarity
FROM search_items(:'query', modality => '{image}', k => :k,
    filter => jsonb_build_object(:'key', :'value'))
ORDER BY rank;
