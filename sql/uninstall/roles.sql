-- The rights of the roles on tables are taken back, and those that we made dropped where nothing
-- else uses them. What is somebody else's is not touched: to revoke on it would fail.

DO $$
DECLARE
    role  name;
    given record;
BEGIN
    FOR role IN
        SELECT rolname FROM pg_roles
        WHERE rolname IN ('pipeline_analyst', 'pipeline_ingest', 'pipeline_owner', 'pipeline_loopback',
            format('pipeline_loopback_%s', (
                SELECT oid FROM pg_database WHERE datname = current_database())))
    LOOP
        FOR given IN
            SELECT DISTINCT c.oid::regclass AS name,
                   CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
            FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS g
            WHERE c.relnamespace = '@schema@'::regnamespace
              AND g.grantee = role::regrole AND pg_has_role(c.relowner, 'USAGE')
        LOOP
            EXECUTE format('REVOKE ALL ON %s %s FROM %I', given.kind, given.name, role);
        END LOOP;
        EXECUTE format('REVOKE ALL ON SCHEMA @schema@ FROM %I', role);
        -- The loop-back's logins were given it where PUBLIC has it not.
        IF EXISTS (
            SELECT FROM pg_database AS d, aclexplode(d.datacl) AS g
            WHERE d.datname = current_database() AND g.grantee = role::regrole
              AND role ~ '^pipeline_loopback' AND pg_has_role(g.grantor, 'USAGE'))
        THEN
            EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %I', current_database(), role);
        END IF;
        CONTINUE WHEN role ~ '^pipeline_(analyst|ingest|owner)$'
            AND shobj_description(role::regrole, 'pg_authid') IS DISTINCT FROM
                'Made by pipeline migrate.';
        BEGIN
            EXECUTE format('DROP ROLE %I', role);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            NULL;  -- another database uses it, or it is not ours
        END;
    END LOOP;
END $$;
