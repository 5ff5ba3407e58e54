-- question:   Which images of this category show what the text says?
-- parameters: query, category, k
-- index:      inside search_items()
\set query 'a red bicycle'
\set category boats
\set k 10

-- search_items() compares all matches exactly where they are few, and else uses the index.
SELECT rank, content_ref, metadata ->> 'category' AS category, similarity
FROM search_items(:'query', modality => '{image}', k => :k,
    filter => jsonb_build_object('category', :'category'))
ORDER BY rank;
