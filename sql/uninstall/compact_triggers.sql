-- They hang on a function that goes.

DO $$
DECLARE
    items regclass;
BEGIN
    FOR items IN
        SELECT t.tgrelid FROM pg_trigger AS t
        WHERE t.tgfoid = to_regprocedure('@schema@.multimodal_items_compact()')
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS items_compact ON %s', items);
    END LOOP;
END $$;
