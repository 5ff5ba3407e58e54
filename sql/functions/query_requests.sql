-- The requests behind text_embedding(): rows of query_embeddings that have no vector yet, and the
-- notification that wakes `pipeline serve`. What writes runs with the owner's rights, so that who
-- may search needs no right on the table, and nobody reads what others searched for.

CREATE OR REPLACE FUNCTION @schema@.is_served(space integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- A server holds this advisory lock (class 'pqry') while its model is loaded, and loses it
    -- with its connection.
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1886483065 AND objid = space::oid
          AND objsubid = 2 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
$$;
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

CREATE OR REPLACE FUNCTION @schema@.ask_for_query_embeddings(queries text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    space integer;
BEGIN
    SELECT id INTO space FROM @schema@.embedding_spaces WHERE state = 'active';
    IF space IS NULL THEN
        RAISE EXCEPTION 'no embedding space is active' USING
            ERRCODE = 'MM001',
            HINT = 'Run `pipeline migrate` to create one, or `pipeline space activate NAME`.';
    END IF;
    IF EXISTS (SELECT FROM unnest(queries) AS q WHERE q IS NULL OR q !~ '\S') THEN
        RAISE EXCEPTION 'the query is empty' USING
            ERRCODE = 'MM004', HINT = 'Give a text with at least one character.';
    END IF;
    IF EXISTS (SELECT FROM unnest(queries) AS q WHERE octet_length(q) > 10000) THEN
        RAISE EXCEPTION 'the query is longer than 10000 bytes' USING
            ERRCODE = 'MM004', HINT = 'Search for a sentence; models read some 77 words at most.';
    END IF;
    IF array_position(@schema@.cached_query_embeddings(queries), NULL) IS NULL THEN
        RETURN;
    END IF;
    IF NOT @schema@.is_served(space) THEN
        RAISE EXCEPTION 'nobody serves the active embedding space, so a new text has no vector'
            USING ERRCODE = 'MM002',
            HINT = 'Start `pipeline serve` and try again; texts asked for before need no server.';
    END IF;
    -- A request that is under way is left alone (and not locked); one that failed or was given up
    -- by everybody is opened again.
    INSERT INTO @schema@.query_embeddings AS q (space_id, query_sha256, query)
    SELECT space, @schema@.query_key(asked.query), min(asked.query)
    FROM unnest(queries) AS asked (query)
    WHERE NOT EXISTS (
        SELECT FROM @schema@.query_embeddings AS known
        WHERE known.space_id = space
          AND known.query_sha256 = @schema@.query_key(asked.query)
          AND (known.embedding IS NOT NULL
               OR known.error IS NULL AND known.requested_at > now() - interval '30 s')
    )
    GROUP BY 2
    ORDER BY 2  -- one order of locks for everybody
    ON CONFLICT (space_id, query_sha256) DO UPDATE SET
        requested_at = now(), last_used_at = now(), error = NULL, claimed_until = NULL
    WHERE q.embedding IS NULL;
    PERFORM pg_notify('query_embeddings', space::text);
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
CREATE OR REPLACE PROCEDURE @schema@.embed_queries(queries text[], timeout interval DEFAULT '10 s')
LANGUAGE plpgsql
AS $$
DECLARE
    began  timestamptz := pg_catalog.clock_timestamp();
    pause  double precision := 0.002;
BEGIN
    PERFORM @schema@.ask_for_query_embeddings(queries);
    COMMIT;
    WHILE @schema@.query_embeddings_missing(queries) > 0 LOOP
        IF pg_catalog.clock_timestamp() > began + timeout THEN
            RAISE EXCEPTION 'no vector for the query within %', timeout USING
                ERRCODE = 'MM003',
                HINT = '`pipeline serve` runs but is busy, or its model is slow: try again, or '
                       'give a longer timeout => ''60 s''.';
        END IF;
        COMMIT;  -- holds no snapshot while it waits
        PERFORM pg_catalog.pg_sleep(pause);
        pause := least(pause * 1.2, 0.05);
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

REVOKE EXECUTE ON FUNCTION @schema@.cached_query_embeddings(text[]),
    @schema@.ask_for_query_embeddings(text[]), @schema@.query_embeddings_missing(text[])
    FROM PUBLIC;
