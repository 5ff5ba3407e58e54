-- question:   How do I keep the neighbours of many items for a report?
-- parameters: filter, per_image
-- index:      HNSW of the images, once per image
\if :{?filter} \else \set filter '{"group": "food-drink"}' \endif
\if :{?per_image} \else \set per_image 5 \endif

-- In a report: CREATE MATERIALIZED VIEW neighbours AS ..., without the vectors themselves, since a
-- view over the vector column stands in the way of activating another space.
SELECT a.id, n.place, n.id AS neighbour, n.similarity
FROM multimodal_items AS a
CROSS JOIN LATERAL (
    SELECT b.id, 1 - b.distance AS similarity, row_number() OVER (ORDER BY b.distance, b.id) AS place
    FROM (
        SELECT i.id, i.embedding <=> a.embedding AS distance
        FROM multimodal_items AS i
        WHERE i.modality = 'image'
        ORDER BY i.embedding <=> a.embedding
        LIMIT :per_image + 1
    ) AS b
    WHERE b.id <> a.id
) AS n
WHERE a.modality = 'image' AND a.metadata @> :'filter' AND n.place <= :per_image
ORDER BY a.id, n.place;
