-- question:   What fits by meaning, or by its very words?
-- parameters: query, k
-- index:      inside hybrid_search()
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?k} \else \set k 10 \endif

SELECT rank, modality, content_ref, vector_rank, text_rank, score
FROM hybrid_search(:'query', k => :k)
ORDER BY rank;
