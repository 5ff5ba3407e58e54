-- question:   Which products in stock under this price look like what the text says?
-- parameters: query, price, k
-- index:      HNSW of the images
\if :{?query} \else \set query 'a red bicycle' \endif
\if :{?price} \else \set price 40 \endif
\if :{?k} \else \set k 10 \endif

-- Instead of products write the name of a table of yours. More candidates than asked for, as the join
-- drops some.
WITH products AS (
    SELECT source_key, id % 90 + 0.99 AS price, id % 3 AS stock FROM source_items
),
candidates AS MATERIALIZED (
    SELECT id, source_id, content_ref, embedding <=> text_embedding(:'query') AS distance
    FROM multimodal_items
    WHERE modality = 'image'
    ORDER BY embedding <=> text_embedding(:'query'), id
    LIMIT 20 * :k
)
SELECT p.source_key, p.price, c.content_ref, 1 - c.distance AS similarity
FROM candidates AS c
JOIN source_items AS s ON s.id = c.source_id
JOIN products AS p ON p.source_key = s.source_key
WHERE p.stock > 0 AND p.price < :price
ORDER BY c.distance, c.id
LIMIT :k;
