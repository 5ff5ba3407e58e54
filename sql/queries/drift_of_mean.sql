-- question:   Has what comes in lately changed, compared with all there is?
-- parameters: days
-- index:      none: every item is read
\if :{?days} \else \set days 7 \endif

SELECT i.modality, count(*) AS items,
       1 - (avg(i.embedding::halfvec) FILTER (
               WHERE i.embedded_at > now() - make_interval(days => :days))
            <=> avg(i.embedding::halfvec)) AS similarity_of_means
FROM multimodal_items AS i
GROUP BY i.modality
ORDER BY i.modality;
