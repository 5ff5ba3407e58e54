-- What is deleted from multimodal_items, by hand, through the ORM or by another tool, stays deleted.
--
-- Workers, sync and the triggers of source_items write the tables of the spaces, not the parent, so
-- that this trigger sees others alone.

CREATE OR REPLACE FUNCTION @schema@.multimodal_items_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> '@schema@.multimodal_items'::regclass THEN
        RAISE EXCEPTION '% is not multimodal_items', TG_RELID::regclass USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'The pipeline''s trigger functions work on its own tables alone.';
    END IF;
    INSERT INTO @schema@.deleted_items (source_id)
    SELECT DISTINCT o.source_id FROM old_rows AS o ORDER BY o.source_id
    ON CONFLICT (source_id) DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.multimodal_items_deleted() IS
    'Notes whose items were deleted, so that no sync and no new space brings them back.';

CREATE OR REPLACE TRIGGER multimodal_items_deleted AFTER DELETE ON @schema@.multimodal_items
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.multimodal_items_deleted();
