-- The worker writes a space's tables directly, and they are made long after the grants. Not for
-- analysts: they read through multimodal_items, where row-level security is.

CREATE OR REPLACE FUNCTION @schema@.grant_items_table() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    items regclass := @schema@.items_table(NEW.space_id, NEW.modality);
    role  name;
BEGIN
    -- Of the two those that are still there: a space can be made without them.
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('pipeline_ingest', 'pipeline_owner')
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', items, role);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.grant_items_table() IS
    'Lets pipeline_ingest and pipeline_owner write the tables of a new space.';

CREATE OR REPLACE TRIGGER space_modalities_grant AFTER INSERT ON @schema@.space_modalities
    FOR EACH ROW EXECUTE FUNCTION @schema@.grant_items_table();
