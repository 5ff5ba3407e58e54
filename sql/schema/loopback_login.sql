-- What the server logs in to itself as, through its Unix socket, to leave a request for a vector.
--
-- The role may do nothing else, and has no password, so that it can use no door that asks for one.
-- Only a superuser's functions can use it: see configure_loopback() for the others. It belongs to
-- the whole server, like those of roles.sql.

DO $$
DECLARE
    others text;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_loopback') THEN
        BEGIN
            CREATE ROLE pipeline_loopback LOGIN CONNECTION LIMIT 10;
            COMMENT ON ROLE pipeline_loopback IS 'Made by pipeline migrate.';
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    SELECT string_agg(quote_ident(member.rolname), ', ' ORDER BY member.rolname) INTO others
    FROM pg_auth_members AS m JOIN pg_roles AS member ON member.oid = m.member
    WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = 'pipeline_loopback')
      AND NOT member.rolsuper;
    IF others IS NOT NULL THEN
        RAISE WARNING '% may act as pipeline_loopback, so it is not used, and text_embedding() '
            'finds only what was asked for before', others
            USING HINT = format('REVOKE pipeline_loopback FROM %s CASCADE', others);
        RETURN;
    END IF;
    IF NOT has_database_privilege('pipeline_loopback', current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO pipeline_loopback', current_database());
    END IF;
    GRANT USAGE ON SCHEMA @schema@ TO pipeline_loopback;
    GRANT EXECUTE ON FUNCTION @schema@.loopback_ask(text[], text, text, text),
        @schema@.loopback_answers(text[], text), @schema@.loopback_touch(text[], text)
        TO pipeline_loopback;
END $$;
