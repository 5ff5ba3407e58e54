-- question:   The same without a function: few matches, found by their metadata.
-- parameters: query, filter, k
-- index:      GIN of the metadata
\set query 'a red bicycle'
\set filter '{"hundredth": true}'
\set k 10

SELECT id, content_ref, embedding <=> (SELECT text_embedding(:'query')) AS distance
FROM multimodal_items
WHERE modality = 'image' AND metadata @> :'filter'
ORDER BY distance
LIMIT :k;
