-- The address by which the server reaches itself, and dblink where it came with us. Each by itself:
-- what one of them cannot do keeps no other from going.

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_foreign_server WHERE srvname = 'pipeline_loopback' AND srvowner = (
            SELECT relowner FROM pg_class WHERE oid = '@schema@.source_items'::regclass)
    ) THEN
        DROP SERVER pipeline_loopback CASCADE;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'the foreign server pipeline_loopback, with its password, is not this login''s '
        'to drop' USING HINT = 'DROP SERVER pipeline_loopback CASCADE';
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension
               WHERE extname = 'dblink' AND extnamespace = to_regnamespace('pipeline_dblink')) THEN
        DROP EXTENSION dblink;
        DROP SCHEMA pipeline_dblink;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;  -- somebody uses it, or it is not ours
END $$;
