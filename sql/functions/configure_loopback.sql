CREATE OR REPLACE PROCEDURE @schema@.configure_loopback(
    password text    DEFAULT NULL,
    username text    DEFAULT NULL,
    host     text    DEFAULT '127.0.0.1',
    port     integer DEFAULT NULL
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    functions_owner text := (SELECT pg_get_userbyid(proowner) FROM pg_proc
                             WHERE oid = '@schema@.text_embedding(text, interval)'::regprocedure);
    -- One for each database: what is set anew here must not lock another one out.
    login   text := coalesce(username, format('pipeline_loopback_%s', (
                        SELECT oid FROM pg_database WHERE datname = current_database())));
    secret  text := coalesce(password, gen_random_uuid()::text || gen_random_uuid()::text);
    may_make_roles boolean := (SELECT rolsuper OR rolcreaterole FROM pg_roles
                               WHERE rolname = current_user);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_foreign_data_wrapper WHERE fdwname = 'dblink_fdw') THEN
        RAISE EXCEPTION 'dblink is not installed' USING
            ERRCODE = 'MM005', HINT = 'CREATE EXTENSION dblink (a superuser may), then try again.';
    END IF;
    IF NOT pg_has_role(functions_owner, 'USAGE') THEN
        RAISE EXCEPTION 'only % and superusers may configure the loop-back', functions_owner
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT has_foreign_data_wrapper_privilege(functions_owner, 'dblink_fdw', 'USAGE') THEN
        RAISE EXCEPTION '% may not use dblink_fdw', functions_owner USING
            ERRCODE = 'insufficient_privilege',
            HINT = format('A superuser runs: GRANT USAGE ON FOREIGN DATA WRAPPER dblink_fdw TO %I;',
                functions_owner);
    END IF;
    IF username IS NULL AND NOT may_make_roles OR username IS NOT NULL AND password IS NULL THEN
        RAISE EXCEPTION 'the loop-back needs a login of its own, and its password' USING
            ERRCODE = 'insufficient_privilege',
            HINT = format('Who may create roles runs: CREATE ROLE %I LOGIN CONNECTION LIMIT 10 '
                'PASSWORD ''...''; then CALL configure_loopback(username => %L, '
                'password => ''...'');', login, login);
    END IF;
    IF EXISTS (
        SELECT FROM pg_auth_members AS m JOIN pg_roles AS member ON member.oid = m.member
        WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = login)
          AND NOT member.rolsuper AND member.rolname <> current_user
    ) THEN
        RAISE EXCEPTION 'others may act as %', login USING
            ERRCODE = 'invalid_parameter_value',
            HINT = format('DROP ROLE %I first, or give another login.', login);
    END IF;
    IF username IS NULL THEN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', login);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN CONNECTION LIMIT 10 PASSWORD %L', login, secret);
    END IF;
    IF (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = login)
          OR pg_has_role(login, functions_owner, 'MEMBER') THEN
        RAISE EXCEPTION '% may do more than ask', login USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'Give a login that has no other right.';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA @schema@ TO %I', login);
    EXECUTE format('GRANT EXECUTE ON FUNCTION @schema@.loopback_ask(text[], text, text, text), '
        '@schema@.loopback_answers(text[], text), @schema@.loopback_touch(text[], text) TO %I',
        login);
    IF NOT has_database_privilege(login, current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), login);
    END IF;
    -- Whole and anew; a mapping goes with its server.
    DROP SERVER IF EXISTS pipeline_loopback CASCADE;
    EXECUTE format('CREATE SERVER pipeline_loopback FOREIGN DATA WRAPPER dblink_fdw OPTIONS '
        '(host %L, port %L, dbname %L, application_name ''pipeline loopback'', '
        'connect_timeout ''5'', options %L)',
        host, coalesce(port::text, current_setting('port')), current_database(),
        @schema@.loopback_options());
    EXECUTE format('ALTER SERVER pipeline_loopback OWNER TO %I', functions_owner);
    EXECUTE format('CREATE USER MAPPING FOR %I SERVER pipeline_loopback '
        'OPTIONS (user %L, password %L)', functions_owner, login, secret);
END $$;
COMMENT ON PROCEDURE @schema@.configure_loopback(text, text, text, integer) IS
    'Lets text_embedding() connect to this server by password: as a login that is made for it and '
    'may do nothing but ask, or as username. Call it anew in a copy of the database.';
