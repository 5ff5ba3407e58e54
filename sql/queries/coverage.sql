-- question:   Which of these topics does the collection hardly cover?
-- parameters: topics
-- index:      HNSW of the images, once per topic
\if :{?topics} \else \set topics '{bicycles,submarines,weddings}' \endif

SELECT t.topic, count(*) AS images, max(n.similarity)::real AS best, avg(n.similarity)::real AS mean
FROM unnest(CAST(:'topics' AS text[])) AS t (topic)
CROSS JOIN LATERAL (
    SELECT 1 - (i.embedding <=> text_embedding(t.topic)) AS similarity
    FROM multimodal_items AS i
    WHERE i.modality = 'image'
    ORDER BY i.embedding <=> text_embedding(t.topic)
    LIMIT 20
) AS n
GROUP BY t.topic
ORDER BY best;
