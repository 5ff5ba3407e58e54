-- question:   Which label has each of the newest images?
-- parameters: labels, n
-- index:      inside classify_items()
\if :{?labels} \else \set labels '{bicycle,cat,boat}' \endif
\if :{?n} \else \set n 20 \endif

SELECT i.id, i.content_ref, c.label, c.probability
FROM (
    SELECT id, content_ref FROM multimodal_items
    WHERE modality = 'image' ORDER BY id DESC LIMIT :n
) AS i
CROSS JOIN LATERAL classify_items(:'labels', items => ARRAY[i.id]) AS c
WHERE c.rank = 1
ORDER BY i.id DESC;
