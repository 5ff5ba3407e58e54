-- Queries that are files, images above all: the bytes wait in query_files for `pipeline serve`, go
-- with the answer, and the answer goes with whoever fetches it. For clients: asked in a transaction
-- that is over, then fetched.

CREATE OR REPLACE FUNCTION @schema@.ask_for_file_embedding(content bytea) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size     bigint := coalesce(octet_length(content), 0);
    space    integer;
    limits   record;
    waiting  record;
    request  uuid;
BEGIN
    IF size = 0 THEN
        RAISE EXCEPTION 'the query is empty' USING
            ERRCODE = 'MM004', HINT = 'Give the bytes of a file, such as an image.';
    END IF;
    SELECT id INTO space FROM @schema@.embedding_spaces WHERE state = 'active';
    SELECT max(s.file_limit) AS one, max(s.file_queue_limit) AS in_all, max(s.asker_limit) AS count
    INTO limits
    FROM @schema@.live_query_servers() AS s
    WHERE s.space_id = space AND s.file_limit IS NOT NULL;
    IF limits.one IS NULL THEN
        RAISE EXCEPTION 'nobody serves the active embedding space, so a file has no vector'
            USING ERRCODE = 'MM002', HINT = 'Start `pipeline serve` and try again.';
    END IF;
    IF size > limits.one THEN
        RAISE EXCEPTION 'the file has % bytes; as a query it has at most %', size, limits.one
            USING ERRCODE = 'MM004',
            HINT = 'Search by a smaller image; models see a few hundred pixels a side. Who runs '
                '`pipeline serve` sets PIPELINE_MAX_BYTES and PIPELINE_QUERY_QUEUE_BYTES.';
    END IF;
    SELECT coalesce(sum(q.bytes), 0) AS in_all,
           coalesce(sum(q.bytes) FILTER (WHERE q.asked_by = session_user
               AND q.asked_from = coalesce(host(inet_client_addr()), '')), 0) AS own,
           count(*) FILTER (WHERE q.asked_by = session_user
               AND q.asked_from = coalesce(host(inet_client_addr()), '')) AS own_count
    INTO waiting
    FROM @schema@.query_files AS q;
    -- A share of it for each asker. The table's own size counts as well: what was rolled back, or
    -- is not cleaned up yet, lies on the disk too.
    IF waiting.own + size > greatest(limits.in_all / 4, limits.one)
       OR waiting.in_all + size > limits.in_all OR waiting.own_count >= limits.count
       OR pg_total_relation_size('@schema@.query_files') > 2 * limits.in_all THEN
        RAISE EXCEPTION 'too many files wait for their vectors: % bytes of %, % in all, and % more',
            waiting.own, session_user, waiting.in_all, size
            USING ERRCODE = 'MM006',
            HINT = format('Ask for fewer at a time, or wait for those. `pipeline serve` lets all '
                'together wait with %s bytes, a login at one address with a quarter of that: '
                'PIPELINE_QUERY_QUEUE_BYTES.', limits.in_all);
    END IF;
    INSERT INTO @schema@.query_files (space_id, content, bytes, asked_by, asked_from)
    VALUES (space, ask_for_file_embedding.content, size, session_user,
            coalesce(host(inet_client_addr()), ''))
    RETURNING id INTO request;
    IF @schema@.may_notify() THEN
        PERFORM pg_notify('query_embeddings', space::text);
    END IF;
    RETURN request;
END $$;
COMMENT ON FUNCTION @schema@.ask_for_file_embedding(bytea) IS
    'Asks `pipeline serve` for the vector of a file, such as an image; the request counts once '
    'committed. Its number is for file_embedding().';

CREATE OR REPLACE FUNCTION @schema@.file_embedding(request uuid) RETURNS @vector@.halfvec
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer @vector@.halfvec;
    reason text;
BEGIN
    SELECT q.embedding, q.error INTO answer, reason
    FROM @schema@.query_files AS q
    WHERE q.id = request AND q.asked_by = session_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such file waits for its vector' USING
            ERRCODE = 'MM003', HINT = 'Ask again: nobody came for it within a minute, or the '
                'server was started anew.';
    END IF;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'the file cannot be embedded: %', reason USING
            ERRCODE = 'MM004', HINT = 'Search by another file.';
    END IF;
    IF answer IS NOT NULL THEN
        PERFORM @schema@.forget_file(request);
    END IF;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.file_embedding(uuid) IS
    'The unit vector of a file that this login asked for, once; null while it waits.';

CREATE OR REPLACE FUNCTION @schema@.forget_file(request uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM @schema@.query_files AS q WHERE q.id = request AND q.asked_by = session_user
$$;
COMMENT ON FUNCTION @schema@.forget_file(uuid) IS
    'Removes a file that this login asked for, whether it is answered or not.';

CREATE OR REPLACE FUNCTION @schema@.empty_query_files() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- What was removed lies in the table's file until somebody cleans up; this gives it back.
    IF pg_relation_size('@schema@.query_files') = 0 THEN
        RETURN false;
    END IF;
    LOCK TABLE @schema@.query_files IN ACCESS EXCLUSIVE MODE NOWAIT;
    IF EXISTS (SELECT FROM @schema@.query_files) THEN
        RETURN false;
    END IF;
    TRUNCATE @schema@.query_files;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION @schema@.empty_query_files() IS
    'Gives the disk back where no file waits any more; whether it did.';
