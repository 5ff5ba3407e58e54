-- The other end of the loop-back: all that the role pipeline_loopback may do.

CREATE OR REPLACE FUNCTION @schema@.check_loopback(proof text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the query has no vector yet, and a standby cannot ask itself for one' USING
            ERRCODE = 'MM005',
            HINT = 'Search for it on the primary once; then it is found here. Or, there: '
                   'CALL configure_loopback(host => ''the primary''''s address'').';
    END IF;
    IF EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1886350447 AND objid::text = proof
          AND objsubid = 2 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) OR proof = (SELECT format('%s/%s', s.system_identifier, current_database())
                  FROM pg_control_system() AS s) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'the loop-back connection leads to another database' USING
        ERRCODE = 'MM005',
        HINT = 'This database is a copy of that one: CALL configure_loopback() here.';
END $$;
COMMENT ON FUNCTION @schema@.check_loopback(text) IS
    'Raises where whoever asks is not in this very database, as after a restore elsewhere.';

CREATE OR REPLACE FUNCTION @schema@.loopback_ask(
    queries text[], asked_by text, asked_from text, proof text)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @schema@.check_loopback(proof);
    -- One after the other, so that each counts those before; a transaction here lasts a moment.
    LOCK TABLE @schema@.query_servers IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM @schema@.request_query_embeddings(queries, asked_by, asked_from);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.loopback_ask(text[], text, text, text) IS
    'Asks for the vectors of these texts, on behalf of a login and its address.';

CREATE OR REPLACE FUNCTION @schema@.loopback_answers(queries text[], proof text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @schema@.check_loopback(proof);
    PERFORM @schema@.query_embeddings_missing(queries);
    RETURN @schema@.cached_query_embeddings(queries)::text;
END $$;
COMMENT ON FUNCTION @schema@.loopback_answers(text[], text) IS
    'The cached vectors of these texts, for a transaction that cannot see them itself.';

CREATE OR REPLACE FUNCTION @schema@.loopback_touch(queries text[], proof text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @schema@.check_loopback(proof);
    UPDATE @schema@.query_embeddings AS q SET last_used_at = now()
    FROM @schema@.embedding_spaces AS s
    WHERE s.state = 'active' AND q.space_id = s.id
      AND q.query_sha256 IN (SELECT @schema@.query_key(t) FROM unnest(queries) AS t)
      AND q.last_used_at < now() - interval '1 hour';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.loopback_touch(text[], text) IS
    'Notes that these texts were used now.';
