-- question:   Which images are least like the others?
-- parameters: k
-- index:      none: every image is compared
\if :{?k} \else \set k 10 \endif

SELECT id, content_ref,
       1 - (embedding::halfvec <=> (
           SELECT m.mean FROM space_modalities AS m
           JOIN embedding_spaces AS s ON s.id = m.space_id AND s.state = 'active'
           WHERE m.modality = 'image')) AS similarity_to_mean
FROM multimodal_items
WHERE modality = 'image'
ORDER BY similarity_to_mean, id
LIMIT :k;
