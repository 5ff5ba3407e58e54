-- Full text over source items, for hybrid_search().
--
-- On source_items and not on the items: one index whatever the number of spaces, and activating a
-- space, which attaches partitions, has no index to build. An index knows nothing of a change in
-- the functions it is made of, so its comment holds their hash: where that differs, the index is
-- built anew.

DO $$
BEGIN
    IF @schema@.full_text_made_of() IS DISTINCT FROM
        obj_description(to_regclass('@schema@.source_items_document'), 'pg_class')
    THEN
        PERFORM @schema@.build_full_text_index();
    END IF;
END $$;
