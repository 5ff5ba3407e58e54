-- question:   What fits this text best, whether it is a text or an image?
-- parameters: query, k
-- index:      inside search_items()
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

-- Ranked by similarity alone every text would come before every image.
SELECT rank, modality, content_ref, similarity, score
FROM search_items(:'query', k => :k)
ORDER BY rank;
