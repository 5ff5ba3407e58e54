-- The requests behind text_embedding(): rows of query_embeddings that have no vector yet, and the
-- notification that wakes `pipeline serve`. What writes runs with the owner's rights, so that who
-- may search needs no right on the table, and nobody reads what others searched for.

CREATE OR REPLACE FUNCTION @schema@.live_query_servers() RETURNS SETOF @schema@.query_servers
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- A server holds an advisory lock (class 'pqry') with a number of its own, and loses it with
    -- its connection. Others can neither take it before nor pass for the server: it is this
    -- session's only as long as the row says so, and only who may serve can write that.
    -- One behind a pooler, which shares its sessions, has no lock: it says again and again that it
    -- runs, and is gone soon after it has stopped to.
    SELECT s.* FROM @schema@.query_servers AS s
    WHERE s.seen_at > clock_timestamp() - interval '15 s' OR s.seen_at IS NULL AND EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.classid = 1886483065 AND l.objid = s.lock_key::oid
          AND l.objsubid = 2 AND l.granted AND l.pid = s.pid
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
$$;
COMMENT ON FUNCTION @schema@.live_query_servers() IS 'The rows of those `pipeline serve` that run.';

CREATE OR REPLACE FUNCTION @schema@.is_served_as_before(space integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- By a server of the release before, which runs on while the schema is upgraded: it has no row,
    -- and the space for its number. Only of a login that could serve.
    SELECT EXISTS (
        SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.classid = 1886483065 AND l.objid = space::oid
          AND l.objsubid = 2 AND l.granted AND a.datname = current_database()
          AND has_table_privilege(a.usesysid, '@schema@.query_embeddings', 'UPDATE')
          AND NOT EXISTS (SELECT FROM @schema@.query_servers AS q
                          WHERE (q.pid, q.lock_key) = (l.pid, space))
    )
$$;
COMMENT ON FUNCTION @schema@.is_served_as_before(integer) IS
    'Whether a `pipeline serve` of the release before answers for this space.';

CREATE OR REPLACE FUNCTION @schema@.is_served(space integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM @schema@.live_query_servers() AS s WHERE s.space_id = space)
    OR @schema@.is_served_as_before(space);
COMMENT ON FUNCTION @schema@.is_served(integer) IS
    'Whether some `pipeline serve` answers for this embedding space now.';

CREATE OR REPLACE FUNCTION @schema@.cached_query_embeddings(queries text[])
RETURNS @vector@.halfvec[]
-- Volatile, so that it sees what was committed after the calling statement began.
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(q.embedding ORDER BY asked.n), '{}')
    FROM unnest(queries) WITH ORDINALITY AS asked (query, n)
    LEFT JOIN @schema@.embedding_spaces AS s ON s.state = 'active'
    LEFT JOIN @schema@.query_embeddings AS q
        ON q.space_id = s.id AND q.query_sha256 = @schema@.query_key(asked.query)
$$;
COMMENT ON FUNCTION @schema@.cached_query_embeddings(text[]) IS
    'The cached vectors of these texts in the active space, in their order; null where none is.';

CREATE OR REPLACE FUNCTION @schema@.check_query_texts(queries text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF queries IS NULL THEN
        RAISE EXCEPTION 'queries is null' USING
            ERRCODE = 'MM004', HINT = 'Give an array of texts.';
    END IF;
    -- Lengths first, since all else takes time in proportion.
    IF EXISTS (SELECT FROM unnest(queries) AS q WHERE octet_length(q) > 10000) THEN
        RAISE EXCEPTION 'the query is longer than 10000 bytes' USING
            ERRCODE = 'MM004', HINT = 'Search for a sentence; models read some 77 words at most.';
    END IF;
    IF EXISTS (SELECT FROM unnest(queries) AS q WHERE q IS NULL OR q !~ '[^[:space:]]') THEN
        RAISE EXCEPTION 'the query is empty' USING
            ERRCODE = 'MM004', HINT = 'Give a text with at least one character.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_query_texts(text[]) IS
    'Raises where one of these texts is no query.';

CREATE OR REPLACE FUNCTION @schema@.request_query_embeddings(
    queries text[], asked_by text, asked_from text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    asker_limit bigint;
    queue_limit bigint;
    space       integer;
    waiting     record;
BEGIN
    PERFORM @schema@.check_query_texts(queries);
    SELECT id INTO space FROM @schema@.embedding_spaces WHERE state = 'active';
    IF space IS NULL THEN
        RAISE EXCEPTION 'no embedding space is active' USING
            ERRCODE = 'MM001',
            HINT = 'Run `pipeline migrate` to create one, or `pipeline space activate NAME`.';
    END IF;
    IF NOT EXISTS (
        SELECT FROM unnest(queries) AS a (query)
        WHERE NOT EXISTS (
            SELECT FROM @schema@.query_embeddings AS known
            WHERE known.space_id = space AND known.query_sha256 = @schema@.query_key(a.query)
              AND known.embedding IS NOT NULL)
    ) THEN
        RETURN;
    END IF;
    SELECT max(s.asker_limit), max(s.queue_limit) INTO asker_limit, queue_limit
    FROM @schema@.live_query_servers() AS s WHERE s.space_id = space;
    IF asker_limit IS NULL AND @schema@.is_served_as_before(space) THEN
        asker_limit := 5000;
        queue_limit := 20000;
    END IF;
    IF asker_limit IS NULL THEN
        RAISE EXCEPTION 'nobody serves the active embedding space, so a new text has no vector'
            USING ERRCODE = 'MM002',
            HINT = 'Start `pipeline serve` and try again; texts asked for before need no server.';
    END IF;
    SELECT count(*) AS in_all,
           count(*) FILTER (WHERE q.asked_by = request_query_embeddings.asked_by) AS of_login,
           count(*) FILTER (WHERE q.asked_by = request_query_embeddings.asked_by
               AND q.asked_from = coalesce(request_query_embeddings.asked_from, '')) AS own,
           -- Those that wait already may be asked for again.
           (SELECT count(DISTINCT a.query) FROM unnest(queries) AS a (query)
            WHERE NOT EXISTS (
                SELECT FROM @schema@.query_embeddings AS known
                WHERE known.space_id = space AND known.query_sha256 = @schema@.query_key(a.query)
                  AND (known.embedding IS NOT NULL OR known.error IS NULL
                       AND known.requested_at > now() - interval '60 s'))) AS more
    INTO waiting
    FROM @schema@.query_embeddings AS q
    WHERE q.space_id = space AND q.embedding IS NULL AND q.error IS NULL
      AND q.requested_at > now() - interval '60 s';
    IF waiting.more > 0 AND (waiting.own + waiting.more > asker_limit
                             OR waiting.in_all + waiting.more > queue_limit
                             -- What is kept for a login, whoever else has filled the queue.
                             AND waiting.of_login + waiting.more > queue_limit / 20) THEN
        RAISE EXCEPTION 'too many texts wait for their vectors: % of %, % in all, and % more',
            waiting.own, asked_by, waiting.in_all, waiting.more
            USING ERRCODE = 'MM006',
            HINT = format('Ask for fewer at a time, or wait for those. `pipeline serve` lets a '
                'login at one address wait for %s and all together for %s: '
                'PIPELINE_QUERY_QUEUE_PER_LOGIN, PIPELINE_QUERY_QUEUE.', asker_limit, queue_limit);
    END IF;
    -- A request that is under way is left alone (and not locked); one that failed or was given up
    -- by everybody is opened again.
    INSERT INTO @schema@.query_embeddings AS q
        (space_id, query_sha256, query, asked_by, asked_from)
    SELECT space, @schema@.query_key(a.query), min(a.query),
           request_query_embeddings.asked_by, coalesce(request_query_embeddings.asked_from, '')
    FROM unnest(queries) AS a (query)
    WHERE NOT EXISTS (
        SELECT FROM @schema@.query_embeddings AS known
        WHERE known.space_id = space
          AND known.query_sha256 = @schema@.query_key(a.query)
          AND (known.embedding IS NOT NULL
               OR known.error IS NULL AND known.requested_at > now() - interval '15 s')
    )
    GROUP BY 2
    ORDER BY 2  -- one order of locks for everybody
    ON CONFLICT (space_id, query_sha256) DO UPDATE SET
        requested_at = now(), last_used_at = now(), error = NULL,
        asked_by = excluded.asked_by, asked_from = excluded.asked_from,
        claimed_until = CASE WHEN q.error IS NULL THEN q.claimed_until END
    WHERE q.embedding IS NULL;
    IF @schema@.may_notify() THEN
        PERFORM pg_notify('query_embeddings', space::text);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.request_query_embeddings(text[], text, text) IS
    'Asks `pipeline serve` for the vectors of these texts, on behalf of a login and its address; '
    'the request counts once committed.';

CREATE OR REPLACE FUNCTION @schema@.ask_for_query_embeddings(queries text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not in the caller's transaction where it can be helped: as long as that is open, whoever asks
    -- for the same text would wait for it.
    IF @schema@.has_loopback() THEN
        PERFORM @schema@.run_by_loopback(format(
            'SELECT @schema@.loopback_ask(%L::text[], %L::text, %L::text, %L::text)',
            queries, session_user, host(inet_client_addr()), @schema@.loopback_proof()));
    ELSE
        PERFORM @schema@.request_query_embeddings(
            queries, session_user::text, host(inet_client_addr()));
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.ask_for_query_embeddings(text[]) IS
    'Asks `pipeline serve` for the vectors of these texts; the request counts once committed.';

CREATE OR REPLACE FUNCTION @schema@.query_embeddings_missing(queries text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    refused record;
BEGIN
    SELECT count(*) FILTER (WHERE q.embedding IS NULL) AS missing,
           min(q.error) AS error, min(q.query) FILTER (WHERE q.error IS NOT NULL) AS query
    INTO refused
    FROM unnest(queries) AS asked (query)
    LEFT JOIN @schema@.embedding_spaces AS s ON s.state = 'active'
    LEFT JOIN @schema@.query_embeddings AS q
        ON q.space_id = s.id AND q.query_sha256 = @schema@.query_key(asked.query);
    IF refused.error IS NOT NULL THEN
        RAISE EXCEPTION 'the query "%" cannot be embedded: %', left(refused.query, 100),
            refused.error
            USING ERRCODE = 'MM004', HINT = 'Change the text and try again.';
    END IF;
    RETURN refused.missing;
END $$;
COMMENT ON FUNCTION @schema@.query_embeddings_missing(text[]) IS
    'How many of these texts have no vector yet. Raises what the server said against one.';

-- A procedure with COMMIT may neither set a search path nor run with its owner's rights: it names
-- PostgreSQL's functions in full as well.
CREATE OR REPLACE FUNCTION @schema@.refuse_to_wait(timeout interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF timeout IS NULL THEN
        RAISE EXCEPTION 'the timeout is null' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'timeout => ''10 s''';
    END IF;
    RAISE EXCEPTION 'no vector for the query within %', timeout USING
        ERRCODE = 'MM003',
        HINT = '`pipeline serve` runs but is busy, or its model is slow: try again, or give a '
               'longer timeout => ''60 s''.';
END $$;
COMMENT ON FUNCTION @schema@.refuse_to_wait(interval) IS
    'Raises: the time is over, or none was given.';

CREATE OR REPLACE PROCEDURE @schema@.embed_queries(queries text[], timeout interval DEFAULT '10 s')
LANGUAGE plpgsql
AS $$
DECLARE
    began  timestamptz := pg_catalog.clock_timestamp();
    asked  timestamptz;
    pause  double precision := 0.002;
BEGIN
    IF timeout IS NULL THEN
        PERFORM @schema@.refuse_to_wait(timeout);
    END IF;
    WHILE asked IS NULL OR @schema@.query_embeddings_missing(queries) > 0 LOOP
        -- Again after a while: a request lapses when nobody asks for it any more.
        IF asked IS NULL OR pg_catalog.clock_timestamp() > asked + interval '20 s' THEN
            PERFORM @schema@.ask_for_query_embeddings(queries);
            asked := pg_catalog.clock_timestamp();
        END IF;
        COMMIT;  -- holds no snapshot while it waits
        IF pg_catalog.clock_timestamp() > began + timeout THEN
            PERFORM @schema@.refuse_to_wait(timeout);
        END IF;
        PERFORM pg_catalog.pg_sleep(pause);
        pause := least(pause * 1.2::double precision, 0.05::double precision);
    END LOOP;
END $$;
COMMENT ON PROCEDURE @schema@.embed_queries(text[], interval) IS
    'Has the vectors of these texts made and cached. Not inside a transaction.';

CREATE OR REPLACE PROCEDURE @schema@.embed_query(query text, timeout interval DEFAULT '10 s')
LANGUAGE plpgsql
AS $$
BEGIN
    CALL @schema@.embed_queries(ARRAY[query], timeout);
END $$;
COMMENT ON PROCEDURE @schema@.embed_query(text, interval) IS
    'Has the vector of a text made and cached, where dblink is missing: CALL embed_query(''a red '
    'bicycle''), then text_embedding(''a red bicycle'') finds it. Not inside a transaction.';
