-- question:   Which images are nearly the same?
-- parameters: threshold, filter
-- index:      inside near_duplicates()
\if :{?threshold} \else \set threshold 0.7 \endif
\if :{?filter} \else \set filter '{"group": "food-drink"}' \endif

SELECT id, other_id, similarity, content_ref, other_content_ref
FROM near_duplicates(:threshold, 'image', filter => :'filter')
ORDER BY similarity DESC, id, other_id;
