-- The address by which the server reaches itself, and dblink where it came with us.

DROP SERVER IF EXISTS pipeline_loopback CASCADE;

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
