-- The items for BI tools, which show a text and an image each in its own way.

CREATE OR REPLACE VIEW @schema@.item_catalog WITH (security_invoker = true) AS
SELECT i.id, i.source_id, s.source, s.source_key, i.part, i.modality,
       coalesce(i.metadata ->> 'title', i.metadata ->> 'caption', left(i.content_ref, 80))
           AS title,
       CASE WHEN k.inline THEN i.content_ref END AS text,
       CASE WHEN k.media = 'image' AND i.content_ref ~ '^(https?://|data:image/)'
            THEN i.content_ref END AS picture,
       i.content_ref, i.metadata, i.embedded_at
FROM @schema@.multimodal_items AS i
LEFT JOIN @schema@.source_items AS s ON s.id = i.source_id
LEFT JOIN @schema@.known_modalities AS k ON k.name = i.modality;

COMMENT ON VIEW @schema@.item_catalog IS
    'The items without their vectors, for BI tools; runs with the reader''s rights.';
COMMENT ON COLUMN @schema@.item_catalog.id IS 'Number of the item.';
COMMENT ON COLUMN @schema@.item_catalog.source_id IS 'The source item it came from.';
COMMENT ON COLUMN @schema@.item_catalog.source IS 'Where the source item comes from.';
COMMENT ON COLUMN @schema@.item_catalog.source_key IS 'Its key there.';
COMMENT ON COLUMN @schema@.item_catalog.part IS
    'Which part of the source item, from 0: a window of a text, say.';
COMMENT ON COLUMN @schema@.item_catalog.modality IS 'Its modality, such as image.';
COMMENT ON COLUMN @schema@.item_catalog.title IS
    'Title or caption from the metadata, else the beginning of the reference.';
COMMENT ON COLUMN @schema@.item_catalog.text IS 'The text; null for what is no text.';
COMMENT ON COLUMN @schema@.item_catalog.picture IS
    'An address that a BI tool can show as an image; null for other things and files on disk.';
COMMENT ON COLUMN @schema@.item_catalog.content_ref IS
    'The text itself, or the path or URI of the content.';
COMMENT ON COLUMN @schema@.item_catalog.metadata IS 'The item''s metadata.';
COMMENT ON COLUMN @schema@.item_catalog.embedded_at IS 'When the vector was written.';
