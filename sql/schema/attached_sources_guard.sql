-- Only who may act as a table's owner may say that it is attached, or how: what stands in
-- attached_sources becomes statements that run as that owner.

CREATE OR REPLACE FUNCTION @schema@.attached_sources_guard() RETURNS trigger
-- With the rights of whoever writes.
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation regclass;
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'synced_at' = to_jsonb(OLD) - 'synced_at' THEN
        RETURN NEW;
    END IF;
    FOREACH relation IN ARRAY ARRAY[
        CASE WHEN TG_OP <> 'INSERT' THEN OLD.relation END,
        CASE WHEN TG_OP <> 'DELETE' THEN NEW.relation END]
    LOOP
        IF NOT (SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class AS c WHERE c.oid = relation)
        THEN
            RAISE EXCEPTION 'only the owner of % may say how it is attached', relation USING
                ERRCODE = 'insufficient_privilege',
                HINT = 'attach_source() and detach_source() do, called by that role.';
        END IF;
    END LOOP;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
COMMENT ON FUNCTION @schema@.attached_sources_guard() IS
    'Lets nobody but the owner of a table say how it is attached.';

CREATE OR REPLACE TRIGGER attached_sources_guard
    BEFORE INSERT OR UPDATE OR DELETE ON @schema@.attached_sources
    FOR EACH ROW EXECUTE FUNCTION @schema@.attached_sources_guard();
