-- question:   How do I get as many images as texts?
-- parameters: query, k
-- index:      inside search_items()
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

SELECT rank, modality, content_ref, similarity
FROM search_items(:'query', k => :k, ranking => 'quota')
ORDER BY rank;
