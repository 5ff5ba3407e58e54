-- question:   How similar are the texts and images that belong together by their metadata?
-- parameters: pair, k
-- index:      GIN of the metadata, once per text
\if :{?pair} \else \set pair pair \endif
\if :{?k} \else \set k 10 \endif

SELECT t.metadata ->> :'pair' AS pair, t.content_ref AS text, i.content_ref AS image,
       1 - (t.embedding <=> i.embedding) AS similarity
FROM (
    SELECT * FROM multimodal_items
    WHERE modality = 'text' AND metadata ? :'pair' ORDER BY id LIMIT :k
) AS t
JOIN multimodal_items AS i
    ON i.modality = 'image'
    AND i.metadata @> jsonb_build_object(:'pair', t.metadata -> :'pair')
ORDER BY t.id, i.id;
