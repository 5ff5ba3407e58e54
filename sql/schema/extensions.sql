-- dblink comes with PostgreSQL, but only a superuser (or a managed service's administrator) may
-- create it. Without it text_embedding() says: CALL embed_query('...').
--
-- PostgreSQL lets every login use its functions, and default privileges may add to that. Here only
-- our functions need them: a schema of its own, and no right for anybody else. One that was there
-- before is somebody else's and stays as it is; `pipeline doctor` says what that means.

DO $$
DECLARE
    given record;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'dblink') THEN
        RETURN;
    END IF;
    CREATE SCHEMA IF NOT EXISTS pipeline_dblink;
    IF NOT EXISTS (
        SELECT FROM pg_namespace
        WHERE nspname = 'pipeline_dblink' AND pg_get_userbyid(nspowner) = current_user
    ) THEN
        RAISE EXCEPTION 'the schema pipeline_dblink is not %''s', current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    CREATE EXTENSION dblink SCHEMA pipeline_dblink;
    FOR given IN
        SELECT format('SCHEMA %s', n.oid::regnamespace) AS object, a.grantee
        FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'pipeline_dblink' AND a.grantee <> n.nspowner
        UNION
        SELECT format('FUNCTION %s', p.oid::regprocedure), a.grantee
        FROM pg_proc AS p
        CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE p.pronamespace = 'pipeline_dblink'::regnamespace AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', given.object,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'dblink is not there, so text_embedding() finds only what was asked for before'
            USING HINT = format('CREATE SCHEMA pipeline_dblink; GRANT USAGE ON SCHEMA pipeline_dblink '
                'TO %I; CREATE EXTENSION dblink SCHEMA pipeline_dblink', current_user);
    WHEN undefined_file OR feature_not_supported THEN
        RAISE WARNING 'this server has no dblink (%), so text_embedding() finds only what was asked '
            'for before; CALL embed_query(''...'') asks', SQLERRM;
END $$;
