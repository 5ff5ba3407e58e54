-- When a source item last changed.

CREATE OR REPLACE FUNCTION @schema@.source_items_touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION @schema@.source_items_touch() IS 'Keeps source_items.updated_at.';

CREATE OR REPLACE TRIGGER source_items_touch BEFORE UPDATE ON @schema@.source_items
    FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*))
    EXECUTE FUNCTION @schema@.source_items_touch();
