-- question:   The same without a function: few matches, found by their metadata.
-- parameters: query, filter, k
-- index:      GIN of the metadata
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?filter} \else \set filter '{"group": "food-drink"}' \endif
\if :{?k} \else \set k 10 \endif

SELECT id, content_ref, embedding <=> (SELECT text_embedding(:'query')) AS distance
FROM multimodal_items
WHERE modality = 'image' AND metadata @> :'filter'
ORDER BY distance, id
LIMIT :k;
