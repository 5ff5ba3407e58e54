-- The loop-back: a dblink connection from the server to itself. What runs there commits on its
-- own, so that a SELECT can leave a request for `pipeline serve` and wait for the answer.
--
-- Where the functions' owner is a superuser (the embedded server), it goes through the Unix
-- socket. Any other owner needs a password, since dblink asks for one: CALL configure_loopback().

CREATE OR REPLACE FUNCTION @schema@.loopback_connection() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    sockets text;
    socket  text;
BEGIN
    IF EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'pipeline_loopback') THEN
        RETURN 'pipeline_loopback';
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN NULL;
    END IF;
    sockets := current_setting('unix_socket_directories');
    -- The first of the list; a quote in a quoted one is doubled.
    socket := CASE WHEN sockets ~ '^\s*"'
        THEN replace((regexp_match(sockets, '^\s*"((?:[^"]|"")*)"'))[1], '""', '"')
        ELSE btrim(split_part(sockets, ',', 1)) END;
    RETURN (
        SELECT string_agg(format('%s=''%s''', name,
                   replace(replace(value, '\', '\\'), '''', '\''')), ' ')
        FROM (VALUES ('host', CASE WHEN socket = '' THEN 'localhost' ELSE socket END),
                     ('port', current_setting('port')),
                     ('dbname', current_database()::text),
                     ('user', current_user::text),
                     ('application_name', 'pipeline loopback'),
                     ('connect_timeout', '5'),
                     ('options', '-c default_transaction_read_only=off')) AS o (name, value)
    );
END $$;
COMMENT ON FUNCTION @schema@.loopback_connection() IS
    'How the server reaches itself: the foreign server pipeline_loopback, else the Unix socket; '
    'null: neither.';

CREATE OR REPLACE FUNCTION @schema@.text_embeddings_by_loopback(queries text[], timeout interval)
RETURNS @vector@.halfvec[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dblink  text := (SELECT extnamespace::regnamespace::text FROM pg_extension
                     WHERE extname = 'dblink');
    reached boolean := false;
    target  text;
    answers @vector@.halfvec[];
    code    text;
    message text;
    advice  text;
BEGIN
    -- Committed since the calling statement began, perhaps by another part of it.
    answers := @schema@.cached_query_embeddings(queries);
    IF array_position(answers, NULL) IS NULL THEN
        RETURN answers;
    END IF;
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the query has no vector yet, and a standby cannot ask for one' USING
            ERRCODE = 'MM005', HINT = 'Search for it on the primary once; then it is found here.';
    END IF;
    target := @schema@.loopback_connection();
    IF dblink IS NULL OR target IS NULL THEN
        RAISE EXCEPTION 'the query has no vector yet, and %', CASE
            WHEN dblink IS NULL THEN 'dblink, which could ask for one, is not installed'
            ELSE 'the loop-back connection, which could ask for one, is not set up' END
            USING ERRCODE = 'MM005',
            HINT = format('CALL embed_query(%L) first, outside a transaction. %s for good.',
                queries[array_position(answers, NULL)], CASE
                WHEN dblink IS NULL THEN 'CREATE EXTENSION dblink helps'
                ELSE 'CALL configure_loopback(password => ''...'') helps' END);
    END IF;
    BEGIN
        EXECUTE format('SELECT %s.dblink_disconnect(''pipeline_loopback'') '
                       'WHERE ''pipeline_loopback'' = ANY (%1$s.dblink_get_connections())', dblink);
        EXECUTE format('SELECT %s.dblink_connect(''pipeline_loopback'', $1)', dblink) USING target;
        reached := true;
        EXECUTE format('SELECT %s.dblink_exec(''pipeline_loopback'', $1)', dblink)
            USING 'SET search_path = pg_catalog, pg_temp';
        EXECUTE format('SELECT %s.dblink_exec(''pipeline_loopback'', $1)', dblink)
            USING format('CALL @schema@.embed_queries(%L::text[], %L::interval)', queries, timeout);
        EXECUTE format('SELECT answers FROM %s.dblink(''pipeline_loopback'', $1) '
                       'AS t (answers @vector@.halfvec[])', dblink)
            INTO answers
            USING format('SELECT @schema@.cached_query_embeddings(%L::text[])', queries);
        EXECUTE format('SELECT %s.dblink_disconnect(''pipeline_loopback'')', dblink);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
            advice = PG_EXCEPTION_HINT;
        EXECUTE format('SELECT %s.dblink_disconnect(''pipeline_loopback'') '
                       'WHERE ''pipeline_loopback'' = ANY (%1$s.dblink_get_connections())', dblink);
        IF reached THEN
            RAISE EXCEPTION '%', message USING ERRCODE = code, HINT = advice;
        END IF;
        RAISE EXCEPTION 'the server cannot connect to itself to ask for the vector: %', message
            USING ERRCODE = 'MM005',
            HINT = format('CALL configure_loopback(password => ''...''), or CALL embed_query(%L) '
                          'first.', queries[1]);
    END;
    RETURN answers;
END $$;
COMMENT ON FUNCTION @schema@.text_embeddings_by_loopback(text[], interval) IS
    'The vectors of texts that the cache lacks, asked for through the loop-back connection.';

CREATE OR REPLACE FUNCTION @schema@.touch_query_embeddings(queries text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dblink text := (SELECT extnamespace::regnamespace::text FROM pg_extension
                    WHERE extname = 'dblink');
    target text := @schema@.loopback_connection();
BEGIN
    IF dblink IS NULL OR target IS NULL OR pg_is_in_recovery() THEN
        RETURN;  -- then the cache forgets in the order of asking
    END IF;
    EXECUTE format('SELECT FROM %s.dblink($1, $2) AS t (touched text)', dblink)
        USING target, format(
            'UPDATE @schema@.query_embeddings AS q SET last_used_at = pg_catalog.now() '
            'FROM @schema@.embedding_spaces AS s '
            'WHERE s.state = ''active'' AND q.space_id = s.id AND q.query_sha256 IN '
            '(SELECT @schema@.query_key(t) FROM pg_catalog.unnest(%L::text[]) AS t) '
            'AND q.last_used_at < pg_catalog.now() - interval ''1 hour'' RETURNING ''touched''',
            queries);
EXCEPTION WHEN OTHERS THEN
    NULL;  -- a search does not fail because its use could not be noted
END $$;
COMMENT ON FUNCTION @schema@.touch_query_embeddings(text[]) IS
    'Notes that these texts were used now, for the cache to keep them.';

REVOKE EXECUTE ON FUNCTION @schema@.loopback_connection(), @schema@.touch_query_embeddings(text[]),
    @schema@.text_embeddings_by_loopback(text[], interval) FROM PUBLIC;

CREATE OR REPLACE PROCEDURE @schema@.configure_loopback(
    password text,
    username text DEFAULT NULL,
    host     text DEFAULT '127.0.0.1',
    port     integer DEFAULT NULL
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    functions_owner text := (SELECT pg_get_userbyid(proowner) FROM pg_proc
                             WHERE oid = '@schema@.text_embedding(text, interval)'::regprocedure);
    options         text;
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
    -- Whole and anew; a mapping goes with its server.
    DROP SERVER IF EXISTS pipeline_loopback CASCADE;
    EXECUTE format('CREATE SERVER pipeline_loopback FOREIGN DATA WRAPPER dblink_fdw OPTIONS '
        '(host %L, port %L, dbname %L, application_name ''pipeline loopback'', '
        'connect_timeout ''5'', options ''-c default_transaction_read_only=off'')',
        host, coalesce(port::text, current_setting('port')), current_database());
    EXECUTE format('ALTER SERVER pipeline_loopback OWNER TO %I', functions_owner);
    EXECUTE format('CREATE USER MAPPING FOR %I SERVER pipeline_loopback '
        'OPTIONS (user %L, password %L)',
        functions_owner, coalesce(username, functions_owner), password);
END $$;
COMMENT ON PROCEDURE @schema@.configure_loopback(text, text, text, integer) IS
    'Lets text_embedding() connect to this server by password, as the functions'' owner or as '
    'username. Kept in a user mapping that the owner alone may see; call it anew after a change.';
