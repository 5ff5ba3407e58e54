-- question:   What does this image show, of these labels?
-- parameters: item, labels
-- index:      inside classify_items()
\if :{?item}
\else
SELECT coalesce(min(id), 0) AS item FROM multimodal_items WHERE modality = 'image'
\gset
\endif
\if :{?labels} \else \set labels '{bicycle,cat,boat}' \endif

SELECT label, probability, similarity
FROM classify_items(:'labels', items => ARRAY[:item]::bigint[])
ORDER BY rank;
