-- The loop-back: a dblink connection from the server to itself. What runs there commits on its
-- own, so that a SELECT can leave a request for `pipeline serve` and wait for the answer.
--
-- Each statement has a connection of its own, which ends with it, however it ends: nothing stays
-- open in the session of whoever asked. It logs in as a role that may do nothing but ask, see
-- loopback_requests.sql. Where the functions' owner is a superuser (the embedded server), it goes
-- through the Unix socket; any other owner needs a password, since dblink asks for one: CALL
-- configure_loopback().

CREATE OR REPLACE FUNCTION @schema@.loopback_connection() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    sockets text;
    socket  text;
BEGIN
    -- Only one of the functions' owner: what somebody else made leads where they want.
    IF EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'pipeline_loopback'
               AND pg_get_userbyid(srvowner) = current_user) THEN
        RETURN 'pipeline_loopback';
    END IF;
    -- The role is the server's: another database may have given it what it needs there, and none
    -- that others may act as is used.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       OR NOT EXISTS (
           SELECT FROM pg_roles AS r
           WHERE r.rolname = 'pipeline_loopback' AND r.rolcanlogin
             AND has_function_privilege(
                 r.oid, '@schema@.loopback_ask(text[], text, text, text)', 'EXECUTE')
             AND NOT EXISTS (
                 SELECT FROM pg_auth_members AS m JOIN pg_roles AS member ON member.oid = m.member
                 WHERE m.roleid = r.oid AND NOT member.rolsuper)) THEN
        RETURN NULL;
    END IF;
    sockets := current_setting('unix_socket_directories');
    -- The first of the list; a quote in a quoted one is doubled.
    socket := CASE WHEN sockets ~ '^[[:space:]]*"'
        THEN replace((regexp_match(sockets, '^[[:space:]]*"((?:[^"]|"")*)"'))[1], '""', '"')
        ELSE btrim(split_part(sockets, ',', 1)) END;
    RETURN (
        SELECT string_agg(format('%s=''%s''', name,
                   regexp_replace(value, E'([\\\\''])', E'\\\\\\1', 'g')), ' ')
        FROM (VALUES ('user', 'pipeline_loopback'),
                     ('host', CASE WHEN socket = '' THEN 'localhost' ELSE socket END),
                     ('port', current_setting('port')),
                     ('dbname', current_database()::text),
                     ('application_name', 'pipeline loopback'),
                     ('connect_timeout', '5'),
                     ('options', @schema@.loopback_options())) AS o (name, value)
    );
END $$;
COMMENT ON FUNCTION @schema@.loopback_connection() IS
    'How the server reaches itself: the foreign server pipeline_loopback, else the Unix socket; '
    'null: neither.';

CREATE OR REPLACE FUNCTION @schema@.loopback_options() RETURNS text
LANGUAGE sql IMMUTABLE
-- What a role or a database may have set otherwise. Nothing there takes longer than a moment.
RETURN '-c default_transaction_read_only=off -c statement_timeout=10s -c lock_timeout=2s '
    || E'-c default_transaction_isolation=read\\ committed -c search_path=pg_catalog';
COMMENT ON FUNCTION @schema@.loopback_options() IS 'The settings of a loop-back connection.';

CREATE OR REPLACE FUNCTION @schema@.try_by_loopback(statement text) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dblink text := (SELECT extnamespace::regnamespace::text FROM pg_extension
                    WHERE extname = 'dblink');
    target text := @schema@.loopback_connection();
    answer text;
BEGIN
    -- dblink would take a connection of that name in its place, and this session may have been
    -- somebody else's before: a pooler's are.
    EXECUTE format('SELECT %s.dblink_disconnect(c) '
                   'FROM unnest(%1$s.dblink_get_connections()) AS c WHERE c = $1::name::text', dblink)
        USING target;
    EXECUTE format('SELECT answer FROM %s.dblink($1, $2) AS t (answer text)', dblink)
        INTO answer USING target, statement;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.try_by_loopback(text) IS
    'Runs one statement of one text column over the loop-back, if it has a connection free.';

CREATE OR REPLACE FUNCTION @schema@.run_by_loopback(statement text) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reason text;
    pause  double precision := 0.02;
BEGIN
    LOOP
        BEGIN
            RETURN @schema@.try_by_loopback(statement);
        EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
            GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
        END;
        -- Its role has few connections, which are soon free again.
        IF pause > 1 THEN
            RAISE EXCEPTION 'the server cannot connect to itself to ask for the vector: %', reason
                USING ERRCODE = 'MM005',
                HINT = 'Who owns the functions runs, once: CALL configure_loopback();';
        END IF;
        PERFORM pg_sleep(pause);
        pause := pause * 2;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.run_by_loopback(text) IS
    'Runs one statement of one text column over the loop-back; what it raises is raised here.';

CREATE OR REPLACE FUNCTION @schema@.loopback_proof() RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Of this process of this server: the process numbers of a clone may be the same.
    key integer := hashtext(format('%s %s', pg_backend_pid(), pg_postmaster_start_time()))
                   & 2147483647;
BEGIN
    -- A standby can lock nothing that its primary would see, but is the same system.
    IF pg_is_in_recovery() THEN
        RETURN (SELECT format('%s/%s', s.system_identifier, current_database())
                FROM pg_control_system() AS s);
    END IF;
    -- Held to the end of the transaction. Anybody may hold it, so another one is tried then.
    WHILE NOT pg_try_advisory_xact_lock_shared(1886350447, key) LOOP
        key := (random() * 2000000000)::integer;
    END LOOP;
    RETURN key::text;
END $$;
COMMENT ON FUNCTION @schema@.loopback_proof() IS
    'What check_loopback() knows this very database by: a lock (class ''ploo'') that is held in it '
    'alone; on a standby, the system and the database''s name.';

CREATE OR REPLACE FUNCTION @schema@.text_embeddings_by_loopback(queries text[], timeout interval)
RETURNS @vector@.halfvec[]
-- Volatile, so that each statement sees what was committed by then.
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- These see only what was there when they began, so the loop-back looks for them.
    is_blind boolean := pg_is_in_recovery()
                     OR current_setting('transaction_isolation') <> 'read committed';
    began    timestamptz := clock_timestamp();
    asked    timestamptz;
    pause    double precision := 0.002;
    answers  @vector@.halfvec[];
    proof    text;
BEGIN
    PERFORM @schema@.check_query_texts(queries);
    answers := @schema@.cached_query_embeddings(queries);
    WHILE array_position(answers, NULL) IS NOT NULL LOOP
        -- Again after a while: a request lapses when nobody asks for it any more.
        IF asked IS NULL OR clock_timestamp() > asked + interval '20 s' THEN
            PERFORM @schema@.check_loopback_is_there(queries);
            proof := @schema@.loopback_proof();
            PERFORM @schema@.run_by_loopback(format(
                'SELECT @schema@.loopback_ask(%L::text[], %L::text, %L::text, %L::text)', queries,
                session_user, host(inet_client_addr()), proof));
            asked := clock_timestamp();
        END IF;
        IF clock_timestamp() > began + timeout THEN
            PERFORM @schema@.refuse_to_wait(timeout);
        END IF;
        PERFORM pg_sleep(pause);
        pause := least(pause * 1.2, 0.05);
        IF is_blind THEN
            answers := @schema@.run_by_loopback(format(
                'SELECT @schema@.loopback_answers(%L::text[], %L::text)', queries, proof))::@vector@.halfvec[];
        ELSE
            PERFORM @schema@.query_embeddings_missing(queries);  -- raises what the server said
            answers := @schema@.cached_query_embeddings(queries);
        END IF;
    END LOOP;
    RETURN answers;
END $$;
COMMENT ON FUNCTION @schema@.text_embeddings_by_loopback(text[], interval) IS
    'The vectors of texts that the cache lacks, asked for through the loop-back connection.';

CREATE OR REPLACE FUNCTION @schema@.has_loopback() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'dblink')
        AND @schema@.loopback_connection() IS NOT NULL
$$;
COMMENT ON FUNCTION @schema@.has_loopback() IS 'Whether the server can reach itself.';

CREATE OR REPLACE FUNCTION @schema@.check_loopback_is_there(queries text[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    has_dblink boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'dblink');
BEGIN
    IF @schema@.has_loopback() THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'the query has no vector yet, and %', CASE
        WHEN NOT has_dblink THEN 'dblink, which could ask for one, is not installed'
        ELSE 'the loop-back connection, which could ask for one, is not set up' END
        USING ERRCODE = 'MM005',
        HINT = format('CALL embed_query(%L) first, outside a transaction. %s for good.',
            queries[1], CASE
            WHEN NOT has_dblink THEN 'CREATE EXTENSION dblink helps'
            ELSE 'CALL configure_loopback() helps' END);
END $$;
COMMENT ON FUNCTION @schema@.check_loopback_is_there(text[]) IS
    'Raises where the server has no way to ask for the vectors of these texts.';

CREATE OR REPLACE FUNCTION @schema@.touch_query_embeddings(queries text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not on a standby: nothing would be noted there where the loop-back leads to itself, so that
    -- every search tried again; and what is cached is to be found while the primary is away.
    IF NOT pg_is_in_recovery() AND @schema@.has_loopback() THEN
        -- Once: a search does not wait for it.
        PERFORM @schema@.try_by_loopback(format(
            'SELECT @schema@.loopback_touch(%L::text[], %L::text)', queries,
            @schema@.loopback_proof()));
    END IF;  -- else the cache forgets in the order of asking
EXCEPTION WHEN OTHERS THEN
    NULL;  -- a search does not fail because its use could not be noted
END $$;
COMMENT ON FUNCTION @schema@.touch_query_embeddings(text[]) IS
    'Notes that these texts were used now, for the cache to keep them.';
