-- Full text over source items, for hybrid_search().
--
-- On source_items and not on the items: one index whatever the number of spaces, and activating a
-- space, which attaches partitions, has no index to build. An index knows nothing of a change in
-- the functions it is made of, so its comment holds their hash: where that differs, it is built anew
-- after the migration, beside readers and writers; see pipeline/postgres/full_text.py.

DO $$
BEGIN
    IF to_regclass('@schema@.source_items_document') IS NULL THEN
        PERFORM @schema@.build_full_text_index();
    ELSIF NOT EXISTS (
        SELECT FROM pg_index
        WHERE indexrelid = to_regclass('@schema@.source_items_document')
          AND indrelid = '@schema@.source_items'::regclass)
    THEN
        RAISE EXCEPTION '@schema@.source_items_document was there already and is not the '
            'pipeline''s, which needs the name' USING
            ERRCODE = 'duplicate_table',
            HINT = 'Rename yours, or give the pipeline a schema of its own (PIPELINE_SCHEMA).';
    END IF;
END $$;
