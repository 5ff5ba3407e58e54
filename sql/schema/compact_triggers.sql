-- Made where a space gets its compact index; here again where an older revision had no place for them.

CREATE OR REPLACE FUNCTION @schema@.keep_compact(items regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = items AND tgname = 'items_compact')
    THEN
        EXECUTE format('CREATE TRIGGER items_compact '
            'BEFORE INSERT OR UPDATE OF embedding, compact ON %s '
            'FOR EACH ROW EXECUTE FUNCTION @schema@.multimodal_items_compact()', items);
        -- Also where a subscription or a restore writes.
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER items_compact', items);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.keep_compact(regclass) IS
    'Has a trigger keep the leading coordinates of a table''s items, where none does.';

SELECT @schema@.keep_compact(@schema@.items_table(m.space_id, m.modality))
FROM @schema@.space_modalities AS m JOIN @schema@.embedding_spaces AS s ON s.id = m.space_id
WHERE s.compact_width IS NOT NULL
  AND @schema@.items_table(m.space_id, m.modality) IS NOT NULL;
