-- From a text to its vector inside any SELECT. The cache is read here; what it lacks is asked for
-- through the loop-back connection, see loopback.sql and query_requests.sql.

CREATE OR REPLACE FUNCTION @schema@.text_embedding(query text, timeout interval DEFAULT '10 s')
RETURNS @vector@.halfvec
-- COST: a cached answer takes some 30 microseconds, so it is better evaluated once than per row.
LANGUAGE plpgsql STABLE SECURITY DEFINER COST 300
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer @vector@.halfvec;
    used   timestamptz;
    noted  text; -- a text whose use this transaction noted, or tried to
BEGIN
    -- Before its key is computed; the rest is checked where a text is asked for.
    IF text_embedding.query IS NULL OR octet_length(text_embedding.query) > 10000 THEN
        PERFORM @schema@.check_query_texts(ARRAY[text_embedding.query]);
    END IF;
    IF timeout IS NULL THEN
        PERFORM @schema@.refuse_to_wait(timeout);
    END IF;
    -- The text's vector and the items it is compared with are of one space, or it is refused.
    PERFORM @schema@.check_snapshot();
    SELECT q.embedding, q.last_used_at INTO answer, used
    FROM @schema@.embedding_spaces AS s
    JOIN @schema@.query_embeddings AS q ON q.space_id = s.id
    WHERE s.state = 'active'
      AND q.query_sha256 = @schema@.query_key(text_embedding.query);
    IF answer IS NULL THEN
        RETURN (@schema@.text_embeddings(ARRAY[text_embedding.query], timeout))[1];
    END IF;
    -- A SELECT must not write, so the use is noted by the loop-back, at most once an hour. Where no
    -- index serves, this runs for every row, none of which sees what the first one noted.
    noted := encode(@schema@.query_key(text_embedding.query), 'hex');
    IF used < now() - interval '1 hour'
       AND coalesce(current_setting('pipeline.noted_query', true), '') <> noted THEN
        PERFORM set_config('pipeline.noted_query', noted, true);
        PERFORM @schema@.touch_query_embeddings(ARRAY[text_embedding.query]);
    END IF;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.text_embedding(text, interval) IS
    'The unit vector of a text in the active space: ORDER BY embedding <=> text_embedding(''a red '
    'bicycle'') LIMIT 10. Cached; a new text is embedded by a running `pipeline serve`.';

CREATE OR REPLACE FUNCTION @schema@.text_embeddings(queries text[], timeout interval DEFAULT '10 s')
RETURNS @vector@.halfvec[]
LANGUAGE plpgsql STABLE SECURITY DEFINER COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answers @vector@.halfvec[];
BEGIN
    PERFORM @schema@.check_query_texts(queries);
    IF timeout IS NULL THEN
        PERFORM @schema@.refuse_to_wait(timeout);
    END IF;
    PERFORM @schema@.check_snapshot();
    answers := @schema@.cached_query_embeddings(queries);
    IF array_position(answers, NULL) IS NULL THEN
        RETURN answers;
    END IF;
    RETURN @schema@.text_embeddings_by_loopback(queries, timeout);
END $$;
COMMENT ON FUNCTION @schema@.text_embeddings(text[], interval) IS
    'The unit vectors of several texts, in their order; new ones are embedded in one batch.';
