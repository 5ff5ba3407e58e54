-- question:   How do I get as many images as texts?
-- parameters: query, k
-- index:      inside search_items()
\set query 'a red bicycle'
\set k 10

SELECT rank, modality, content_ref, similarity
FROM search_items(:'query', k => :k, ranking => 'quota')
ORDER BY rank;
