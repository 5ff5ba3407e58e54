-- question:   How many images are there of each label?
-- parameters: labels, filter
-- index:      inside classify_items()
\if :{?labels} \else \set labels '{bicycle,cat,boat}' \endif
\if :{?filter} \else \set filter '{"group": "food-drink"}' \endif

SELECT label, count(*) AS images, avg(probability)::real AS certainty
FROM classify_items(:'labels', filter => :'filter')
WHERE rank = 1
GROUP BY label
ORDER BY images DESC, label;
