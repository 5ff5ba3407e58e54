-- question:   What does this image show, of these labels?
-- parameters: item, labels
-- index:      inside classify_items()
\set item 20001
\set labels '{bicycle,cat,boat}'

SELECT label, probability, similarity
FROM classify_items(:'labels', items => ARRAY[:item]::bigint[])
ORDER BY rank;
