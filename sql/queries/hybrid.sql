-- question:   What fits by meaning, or by its very words?
-- parameters: query, k
-- index:      inside hybrid_search()
\set query 'picture number 77'
\set k 10

SELECT rank, modality, content_ref, vector_rank, text_rank, score
FROM hybrid_search(:'query', k => :k)
ORDER BY rank;
