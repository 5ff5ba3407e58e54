-- It hangs on a function that goes.

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indexrelid = to_regclass('@schema@.source_items_document')
          AND indrelid = '@schema@.source_items'::regclass)
    THEN
        DROP INDEX @schema@.source_items_document;
    END IF;
END $$;
