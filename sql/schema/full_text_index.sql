-- Full text over source items, for hybrid_search().
--
-- On source_items and not on the items: one index whatever the number of spaces, and activating a
-- space, which attaches partitions, has no index to build. An index knows nothing of a change in
-- the function it is made of, so its comment holds the function's hash: where that differs, the
-- index is built anew.

DO $$
DECLARE
    made_of text := format('Full text of the source items, made by a function of MD5 %s.',
        md5(pg_get_functiondef('@schema@.item_document(text, text, jsonb)'::regprocedure)));
BEGIN
    IF made_of IS DISTINCT FROM
        obj_description(to_regclass('@schema@.source_items_document'), 'pg_class')
    THEN
        IF EXISTS (
            SELECT FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
            WHERE c.oid = to_regclass('@schema@.source_items_document')
              AND i.indrelid IS DISTINCT FROM '@schema@.source_items'::regclass)
        THEN
            RAISE EXCEPTION '@schema@.source_items_document was there already and is not the '
                'pipeline''s, which needs the name' USING
                ERRCODE = 'duplicate_table',
                HINT = 'Rename yours, or give the pipeline a schema of its own (PIPELINE_SCHEMA).';
        END IF;
        DROP INDEX IF EXISTS @schema@.source_items_document;
        CREATE INDEX source_items_document ON @schema@.source_items
            USING gin (@schema@.item_document(modality, content_ref, metadata));
        EXECUTE format('COMMENT ON INDEX @schema@.source_items_document IS %L', made_of);
    END IF;
END $$;
