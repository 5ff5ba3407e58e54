-- question:   What else looks like this stored image?
-- parameters: item, k
-- index:      HNSW of the images
\if :{?item}
\else
SELECT coalesce(min(id), 0) AS item FROM multimodal_items WHERE modality = 'image'
\gset
\endif
\if :{?k} \else \set k 10 \endif

-- Where the index ends early or leads to many equal items, of which it need not know all, an exact
-- comparison finds the rest.
WITH candidates AS MATERIALIZED (
    SELECT id, content_ref, embedding <=> (SELECT item_embedding(:item)) AS distance
    FROM multimodal_items
    WHERE modality = 'image' AND id <> :item
    ORDER BY embedding <=> (SELECT item_embedding(:item)), id
    LIMIT :k + 10
),
rest AS (
    SELECT id, content_ref, (embedding <=> (SELECT item_embedding(:item))) + 0 AS distance
    FROM multimodal_items
    WHERE modality = 'image' AND id <> :item
      AND ((SELECT count(*) FROM candidates
            WHERE distance < (SELECT max(distance) FROM candidates)) < :k
           OR EXISTS (SELECT FROM candidates GROUP BY distance HAVING count(*) >= 5))
    ORDER BY distance, id
    LIMIT :k
)
SELECT id, content_ref, 1 - distance AS similarity
FROM (SELECT * FROM candidates UNION SELECT * FROM rest) AS found
ORDER BY distance, id
LIMIT :k;
