-- Where in a film, a sound or a document an item is: what a player and a reader of PDFs ask for.
--
-- The notes are in the items' metadata, which whoever writes source items can fill with anything: a
-- value that is no such number is none.

CREATE OR REPLACE VIEW @schema@.item_moments WITH (security_invoker = true) AS
SELECT i.id, i.source_id, s.source, s.source_key, i.part, i.modality, n.page,
       n.start_seconds, n.end_seconds, i.content_ref, i.metadata, i.embedded_at
FROM @schema@.multimodal_items AS i
JOIN @schema@.known_modalities AS k ON k.name = i.modality AND NOT k.inline
LEFT JOIN @schema@.source_items AS s ON s.id = i.source_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN jsonb_typeof(t.told -> 'page') = 'number' THEN (t.told ->> 'page')::numeric END
               AS page,
           CASE WHEN jsonb_typeof(t.told -> 'start') = 'number' THEN (t.told ->> 'start')::numeric END
               AS start,
           CASE WHEN jsonb_typeof(t.told -> 'end') = 'number' THEN (t.told ->> 'end')::numeric END
               AS "end"
    FROM (SELECT i.metadata -> '_pipeline' AS told) AS t
) AS told
CROSS JOIN LATERAL (
    SELECT CASE WHEN told.page BETWEEN 1 AND 2147483647 AND told.page % 1 = 0
                THEN told.page::integer END AS page,
           CASE WHEN told.start BETWEEN 0 AND told."end" AND told.start < told."end"
                    AND told."end" < 1e9 THEN told.start::double precision END AS start_seconds,
           CASE WHEN told.start BETWEEN 0 AND told."end" AND told.start < told."end"
                    AND told."end" < 1e9 THEN told."end"::double precision END AS end_seconds
) AS n
WHERE n.page IS NOT NULL OR n.start_seconds IS NOT NULL;

COMMENT ON VIEW @schema@.item_moments IS
    'The items that are a moment of a film or a sound, or a page of a document, without their '
    'vectors; runs with the reader''s rights.';
COMMENT ON COLUMN @schema@.item_moments.id IS 'Number of the item.';
COMMENT ON COLUMN @schema@.item_moments.source_id IS 'The source item it came from.';
COMMENT ON COLUMN @schema@.item_moments.source IS 'Where the source item comes from.';
COMMENT ON COLUMN @schema@.item_moments.source_key IS 'Its key there.';
COMMENT ON COLUMN @schema@.item_moments.part IS 'Which part of the source item, from 0.';
COMMENT ON COLUMN @schema@.item_moments.modality IS 'Its modality, such as video.';
COMMENT ON COLUMN @schema@.item_moments.page IS 'The page, from 1; null: it has a time.';
COMMENT ON COLUMN @schema@.item_moments.start_seconds IS
    'When it begins, from the beginning; null: it is a page.';
COMMENT ON COLUMN @schema@.item_moments.end_seconds IS 'When it ends, later than it begins.';
COMMENT ON COLUMN @schema@.item_moments.content_ref IS 'The path or URI of the content.';
COMMENT ON COLUMN @schema@.item_moments.metadata IS 'The item''s metadata.';
COMMENT ON COLUMN @schema@.item_moments.embedded_at IS 'When the vector was written.';
