-- question:   How many images are there of each label?
-- parameters: labels, filter
-- index:      inside classify_items()
\set labels '{bicycle,cat,boat}'
\set filter '{"tenth": true}'

SELECT label, count(*) AS images, avg(probability)::real AS certainty
FROM classify_items(:'labels', filter => :'filter')
WHERE rank = 1
GROUP BY label
ORDER BY images DESC, label;
