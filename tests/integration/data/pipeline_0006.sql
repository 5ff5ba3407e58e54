-- A database at revision pipeline_0006, with a few rows: pg_dump's text, its own comments left out.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public;

COMMENT ON EXTENSION dblink IS 'connect to other PostgreSQL databases from within a database';

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';

CREATE TYPE public.hybrid_match AS (
	rank integer,
	id bigint,
	source_id bigint,
	part integer,
	modality text,
	content_ref text,
	metadata jsonb,
	similarity real,
	vector_rank integer,
	text_rank integer,
	score real
);

COMMENT ON TYPE public.hybrid_match IS 'A row of hybrid_search(): an item, and its two ranks.';

COMMENT ON COLUMN public.hybrid_match.rank IS '1 for the best.';

COMMENT ON COLUMN public.hybrid_match.id IS 'Number of the item.';

COMMENT ON COLUMN public.hybrid_match.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.hybrid_match.part IS 'The best part of the source item.';

COMMENT ON COLUMN public.hybrid_match.modality IS 'Its modality, such as image.';

COMMENT ON COLUMN public.hybrid_match.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.hybrid_match.metadata IS 'The item''s metadata.';

COMMENT ON COLUMN public.hybrid_match.similarity IS 'Cosine of item and query.';

COMMENT ON COLUMN public.hybrid_match.vector_rank IS 'Its rank by vector; null: not among the best.';

COMMENT ON COLUMN public.hybrid_match.text_rank IS 'Its rank by full text; null: no word matches.';

COMMENT ON COLUMN public.hybrid_match.score IS 'Sum of weight / (60 + rank) over both ranks.';

CREATE TYPE public.item_match AS (
	rank integer,
	id bigint,
	source_id bigint,
	part integer,
	modality text,
	content_ref text,
	metadata jsonb,
	similarity real,
	score real
);

COMMENT ON TYPE public.item_match IS 'A row of search_items(): an item, and how near it is.';

COMMENT ON COLUMN public.item_match.rank IS '1 for the best.';

COMMENT ON COLUMN public.item_match.id IS 'Number of the item.';

COMMENT ON COLUMN public.item_match.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.item_match.part IS 'The best part of the source item.';

COMMENT ON COLUMN public.item_match.modality IS 'Its modality, such as image.';

COMMENT ON COLUMN public.item_match.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.item_match.metadata IS 'The item''s metadata.';

COMMENT ON COLUMN public.item_match.similarity IS 'Cosine of item and query.';

COMMENT ON COLUMN public.item_match.score IS 'What the rows are ranked by: the similarity, or what the ranking makes of it.';

CREATE FUNCTION public.ask_for_query_embeddings(queries text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    space integer;
BEGIN
    SELECT id INTO space FROM public.embedding_spaces WHERE state = 'active';
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
    IF array_position(public.cached_query_embeddings(queries), NULL) IS NULL THEN
        RETURN;
    END IF;
    IF NOT public.is_served(space) THEN
        RAISE EXCEPTION 'nobody serves the active embedding space, so a new text has no vector'
            USING ERRCODE = 'MM002',
            HINT = 'Start `pipeline serve` and try again; texts asked for before need no server.';
    END IF;
    -- A request that is under way is left alone (and not locked); one that failed or was given up
    -- by everybody is opened again.
    INSERT INTO public.query_embeddings AS q (space_id, query_sha256, query)
    SELECT space, public.query_key(asked.query), min(asked.query)
    FROM unnest(queries) AS asked (query)
    WHERE NOT EXISTS (
        SELECT FROM public.query_embeddings AS known
        WHERE known.space_id = space
          AND known.query_sha256 = public.query_key(asked.query)
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

COMMENT ON FUNCTION public.ask_for_query_embeddings(queries text[]) IS 'Asks `pipeline serve` for the vectors of these texts; the request counts once committed.';

CREATE FUNCTION public.blend_embeddings(embeddings public.halfvec[], weights real[] DEFAULT NULL::real[]) RETURNS public.halfvec
    LANGUAGE plpgsql IMMUTABLE COST 300
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    blend public.vector;
BEGIN
    IF embeddings IS NULL OR cardinality(embeddings) = 0
       OR array_position(embeddings, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'embeddings must hold at least one vector, and no null' USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(weights) <> cardinality(embeddings)
       OR array_position(weights, NULL) IS NOT NULL THEN
        RAISE EXCEPTION '% embeddings need as many weights, not %',
            cardinality(embeddings), cardinality(weights)
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'blend_embeddings(ARRAY[a, b], ARRAY[1, -0.5]); without weights all count '
                   'alike.';
    END IF;
    SELECT public.sum(e::public.vector OPERATOR(public.*)
        array_fill(coalesce(weights[n], 1), ARRAY[public.vector_dims(e)])::public.vector)
    INTO blend
    FROM unnest(embeddings) WITH ORDINALITY AS u (e, n);
    IF public.vector_norm(blend) < 0.0001 THEN
        RAISE EXCEPTION 'the blend has no direction: its parts cancel each other out' USING
            ERRCODE = 'data_exception', HINT = 'Change the weights.';
    END IF;
    RETURN public.l2_normalize(blend)::public.halfvec;
END $$;

COMMENT ON FUNCTION public.blend_embeddings(embeddings public.halfvec[], weights real[]) IS 'The direction of a weighted sum of vectors; negative weights lead away: blend_embeddings(ARRAY[item_embedding(42), text_embedding(''at night'')], ARRAY[1, 0.5]).';

CREATE FUNCTION public.cached_query_embeddings(queries text[]) RETURNS public.halfvec[]
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT coalesce(array_agg(q.embedding ORDER BY asked.n), '{}')
    FROM unnest(queries) WITH ORDINALITY AS asked (query, n)
    LEFT JOIN public.embedding_spaces AS s ON s.state = 'active'
    LEFT JOIN public.query_embeddings AS q
        ON q.space_id = s.id AND q.query_sha256 = public.query_key(asked.query)
$$;

COMMENT ON FUNCTION public.cached_query_embeddings(queries text[]) IS 'The cached vectors of these texts in the active space, in their order; null where none is.';

CREATE FUNCTION public.classify_items(labels text[], template text DEFAULT 'a photo of a {}'::text, items bigint[] DEFAULT NULL::bigint[], modality text DEFAULT 'image'::text, filter jsonb DEFAULT '{}'::jsonb) RETURNS TABLE(id bigint, label text, probability real, similarity real, rank integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    prompts public.halfvec[];
    scale   float8;
BEGIN
    IF coalesce(cardinality(labels), 0) = 0 OR array_position(labels, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'labels must hold at least one label, and no null' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'labels => ARRAY[''dog'', ''cat'']';
    END IF;
    IF position('{}' IN template) = 0 THEN
        RAISE EXCEPTION 'the template % has no {} for the label', quote_literal(template) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'template => ''a photo of a {}''';
    END IF;
    SELECT (s.description ->> 'logit_scale')::float8 INTO scale
    FROM public.embedding_spaces AS s WHERE s.state = 'active';
    SELECT public.text_embeddings(array_agg(replace(template, '{}', l) ORDER BY n)) INTO prompts
    FROM unnest(labels) WITH ORDINALITY AS u (l, n);
    RETURN QUERY
    SELECT c.id, c.label,
           (exp(c.logit - c.highest) / sum(exp(c.logit - c.highest)) OVER of_item)::real,
           c.similarity::real,
           (row_number() OVER (of_item ORDER BY c.logit DESC, c.n))::integer
    FROM (
        SELECT i.id, u.label, u.n, u.similarity, scale * u.similarity AS logit,
               scale * max(u.similarity) OVER (PARTITION BY i.id) AS highest
        FROM public.multimodal_items AS i
        CROSS JOIN LATERAL (
            SELECT labels[n] AS label, n,
                   1 - (i.embedding::public.halfvec OPERATOR(public.<=>) prompts[n])
                       AS similarity
            FROM generate_subscripts(labels, 1) AS n
        ) AS u
        WHERE (items IS NULL AND i.modality = classify_items.modality OR i.id = ANY (items))
          AND i.metadata @> filter
    ) AS c
    WINDOW of_item AS (PARTITION BY c.id);
END $$;

COMMENT ON FUNCTION public.classify_items(labels text[], template text, items bigint[], modality text, filter jsonb) IS 'Zero-shot labels: for the items given, or for all of a modality, every label with its probability; rank 1 is the label. Or lateral, with items => ARRAY[i.id].';

CREATE PROCEDURE public.configure_loopback(IN password text, IN username text DEFAULT NULL::text, IN host text DEFAULT '127.0.0.1'::text, IN port integer DEFAULT NULL::integer)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    functions_owner text := (SELECT pg_get_userbyid(proowner) FROM pg_proc
                             WHERE oid = 'public.text_embedding(text, interval)'::regprocedure);
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

COMMENT ON PROCEDURE public.configure_loopback(IN password text, IN username text, IN host text, IN port integer) IS 'Lets text_embedding() connect to this server by password, as the functions'' owner or as username. Kept in a user mapping that the owner alone may see; call it anew after a change.';

CREATE FUNCTION public.delete_items(space integer, ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    items regclass;
BEGIN
    FOR items IN
        SELECT public.items_table(m.space_id, m.modality) FROM public.space_modalities AS m
        WHERE m.space_id = space ORDER BY m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('DELETE FROM %s WHERE source_id = ANY ($1)', items) USING ids;
        END IF;
    END LOOP;
END $_$;

COMMENT ON FUNCTION public.delete_items(space integer, ids bigint[]) IS 'Removes the items of these source items from one space.';

CREATE PROCEDURE public.embed_queries(IN queries text[], IN timeout interval DEFAULT '00:00:10'::interval)
    LANGUAGE plpgsql
    AS $$
DECLARE
    began  timestamptz := pg_catalog.clock_timestamp();
    pause  double precision := 0.002;
BEGIN
    PERFORM public.ask_for_query_embeddings(queries);
    COMMIT;
    WHILE public.query_embeddings_missing(queries) > 0 LOOP
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

COMMENT ON PROCEDURE public.embed_queries(IN queries text[], IN timeout interval) IS 'Has the vectors of these texts made and cached. Not inside a transaction.';

CREATE PROCEDURE public.embed_query(IN query text, IN timeout interval DEFAULT '00:00:10'::interval)
    LANGUAGE plpgsql
    AS $$
BEGIN
    CALL public.embed_queries(ARRAY[query], timeout);
END $$;

COMMENT ON PROCEDURE public.embed_query(IN query text, IN timeout interval) IS 'Has the vector of a text made and cached, where dblink is missing: CALL embed_query(''a red bicycle''), then text_embedding(''a red bicycle'') finds it. Not inside a transaction.';

CREATE FUNCTION public.enqueue_source_items(ids bigint[]) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH wanted AS (
        SELECT m.space_id, s.id AS source_id
        FROM public.source_items AS s
        JOIN public.space_modalities AS m ON m.modality = s.modality
        WHERE s.id = ANY (ids)
    ),
    enqueued AS (
        INSERT INTO public.ingest_jobs AS j (space_id, source_id)
        SELECT w.space_id, w.source_id FROM wanted AS w ORDER BY w.space_id, w.source_id
        ON CONFLICT (space_id, source_id) DO UPDATE SET
            version = nextval('public.ingest_job_versions'), state = 'pending', attempts = 0,
            run_after = now(), leased_until = NULL, worker = NULL,
            error_code = NULL, error = NULL
        RETURNING 1
    )
    SELECT count(*) FROM enqueued
$$;

COMMENT ON FUNCTION public.enqueue_source_items(ids bigint[]) IS 'Creates or re-opens the jobs of these source items, in every space that has their modality; returns how many.';

CREATE FUNCTION public.grant_items_table() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    items regclass := public.items_table(NEW.space_id, NEW.modality);
    role  name;
BEGIN
    -- Of the two those that are still there: a space can be made without them.
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('pipeline_ingest', 'pipeline_owner')
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', items, role);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION public.grant_items_table() IS 'Lets pipeline_ingest and pipeline_owner write the tables of a new space.';

CREATE FUNCTION public.has_few_matches(modality text, filter jsonb, few bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'on'
    AS $_$
DECLARE
    matches text := format('FROM public.multimodal_items '
                           'WHERE modality = %L AND metadata @> %L', modality, filter);
    plan    jsonb;
    answer  boolean;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) SELECT ' || matches INTO plan;
    -- Only a rough idea (often 1 % of the table, whatever the filter), so it decides alone only
    -- where it is far off; else the matches are counted, through the GIN index, up to the limit.
    IF (plan #>> '{0,Plan,Plan Rows}')::float8 > 20.0 * few THEN
        RETURN false;
    END IF;
    PERFORM set_config('enable_seqscan', 'off', true);
    EXECUTE format('SELECT count(*) <= %s FROM (SELECT %s LIMIT %1$s + 1) AS m', few, matches)
        INTO answer;
    RETURN answer;
END $_$;

COMMENT ON FUNCTION public.has_few_matches(modality text, filter jsonb, few bigint) IS 'Whether at most so many items of the modality match the filter.';

CREATE FUNCTION public.hybrid_search(query text, modality text[] DEFAULT NULL::text[], k integer DEFAULT 10, filter jsonb DEFAULT '{}'::jsonb, vector_weight real DEFAULT 1, text_weight real DEFAULT 1, candidates integer DEFAULT NULL::integer, ranking text DEFAULT 'calibrated'::text) RETURNS SETOF public.hybrid_match
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE
    probe public.halfvec := public.text_embedding(query);
    words tsquery := websearch_to_tsquery('pg_catalog.english', query);
    n     integer := coalesce(candidates, greatest(4 * k, 50));
BEGIN
    IF least(vector_weight, text_weight) < 0 OR vector_weight + text_weight = 0 THEN
        RAISE EXCEPTION 'weights are % and %, and must not be negative nor all zero',
            vector_weight, text_weight USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH by_vector AS MATERIALIZED (
        SELECT m.id, m.source_id, m.part, m.modality, m.content_ref, m.metadata, m.similarity,
               m.rank
        FROM public.search_items(embedding => probe, modality => hybrid_search.modality, k => n,
            filter => hybrid_search.filter, ranking => hybrid_search.ranking,
            query_modality => 'text') AS m
    ),
    found AS MATERIALIZED (
        SELECT s.id AS source_id,
               ts_rank_cd(public.item_document(s.modality, s.content_ref, s.metadata), words)
                   AS weight
        FROM public.source_items AS s
        WHERE public.item_document(s.modality, s.content_ref, s.metadata) @@ words
          AND (hybrid_search.modality IS NULL OR s.modality = ANY (hybrid_search.modality))
          AND s.metadata @> hybrid_search.filter
        ORDER BY weight DESC, s.id LIMIT n
    ),
    by_text AS MATERIALIZED (
        SELECT i.*, row_number() OVER (ORDER BY found.weight DESC, found.source_id)::integer AS rank
        FROM found CROSS JOIN LATERAL (
            SELECT i.id, i.source_id, i.part, i.modality, i.content_ref, i.metadata,
                   (1 - (i.embedding::public.halfvec OPERATOR(public.<=>) probe))::real
                       AS similarity
            FROM public.multimodal_items AS i WHERE i.source_id = found.source_id
            ORDER BY i.embedding::public.halfvec OPERATOR(public.<=>) probe LIMIT 1
        ) AS i
    ),
    -- Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), with their 60.
    fused AS (
        SELECT coalesce(v.id, t.id) AS id, coalesce(v.source_id, t.source_id) AS source_id,
               coalesce(v.part, t.part) AS part, coalesce(v.modality, t.modality) AS modality,
               coalesce(v.content_ref, t.content_ref) AS content_ref,
               coalesce(v.metadata, t.metadata) AS metadata,
               coalesce(v.similarity, t.similarity) AS similarity,
               v.rank AS vector_rank, t.rank AS text_rank,
               coalesce(vector_weight / (60 + v.rank), 0)
                   + coalesce(text_weight / (60 + t.rank), 0) AS score
        FROM by_vector AS v FULL JOIN by_text AS t USING (source_id)
    )
    SELECT row_number() OVER (ORDER BY f.score DESC, f.similarity DESC, f.id)::integer, f.id,
           f.source_id, f.part, f.modality, f.content_ref, f.metadata, f.similarity,
           f.vector_rank, f.text_rank, f.score::real
    FROM fused AS f ORDER BY 1 LIMIT k;
END $$;

COMMENT ON FUNCTION public.hybrid_search(query text, modality text[], k integer, filter jsonb, vector_weight real, text_weight real, candidates integer, ranking text) IS 'The k items best by meaning and by words together (reciprocal rank fusion); the query may hold "a phrase", -word and or, as in web search.';

CREATE FUNCTION public.is_served(space integer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION public.is_served(space integer) IS 'Whether some `pipeline serve` answers for this embedding space now.';

CREATE FUNCTION public.item_document(modality text, content_ref text, metadata jsonb) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_tsvector('english'::regconfig, "left"(concat_ws(' '::text, (metadata ->> 'title'::text), (metadata ->> 'caption'::text), (metadata ->> 'description'::text), (metadata ->> 'alt'::text), (metadata ->> 'tags'::text), CASE WHEN (modality = 'text'::text) THEN content_ref ELSE NULL::text END), 100000));

COMMENT ON FUNCTION public.item_document(modality text, content_ref text, metadata jsonb) IS 'What full text finds of a source item: its text, and title, caption, description, alt and tags of its metadata.';

CREATE FUNCTION public.item_embedding(item_id bigint) RETURNS public.halfvec
    LANGUAGE plpgsql STABLE STRICT COST 300
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    answer public.halfvec;
BEGIN
    SELECT i.embedding INTO answer FROM public.multimodal_items AS i WHERE i.id = item_id;
    IF answer IS NULL THEN
        RAISE EXCEPTION 'there is no item %', item_id USING
            ERRCODE = 'no_data_found', HINT = 'Items have their numbers in multimodal_items.id.';
    END IF;
    RETURN answer;
END $$;

COMMENT ON FUNCTION public.item_embedding(item_id bigint) IS 'The vector of a stored item: ORDER BY embedding <=> item_embedding(42) LIMIT 10.';

CREATE FUNCTION public.items_table(space integer, modality text) RETURNS regclass
    LANGUAGE sql STABLE
    RETURN to_regclass(format('public.%I'::text, format('multimodal_items_%s_s%s'::text, modality, space)));

COMMENT ON FUNCTION public.items_table(space integer, modality text) IS 'The table of one modality in one space, attached or not; null: there is none.';

CREATE FUNCTION public.lock_jobs(ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM public.ingest_jobs AS j
    WHERE j.source_id = ANY (ids)
      AND j.space_id IN (SELECT e.id FROM public.embedding_spaces AS e)  -- the index begins so
    ORDER BY j.space_id, j.source_id FOR UPDATE;
END $$;

COMMENT ON FUNCTION public.lock_jobs(ids bigint[]) IS 'Locks the jobs of these source items in every space, keys ascending.';

CREATE FUNCTION public.loopback_connection() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION public.loopback_connection() IS 'How the server reaches itself: the foreign server pipeline_loopback, else the Unix socket; null: neither.';

CREATE FUNCTION public.modality_means(space integer, OUT modalities text[], OUT means public.vector[], OUT sampled boolean) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    known record;
    mean  public.vector;
BEGIN
    sampled := false;
    FOR known IN
        SELECT m.modality, m.mean::public.vector AS mean, m.item_count
        FROM public.space_modalities AS m WHERE m.space_id = space ORDER BY m.modality
    LOOP
        mean := known.mean;
        IF mean IS NULL THEN
            EXECUTE format('SELECT public.avg(e::public.vector) FROM ('
                           'SELECT embedding FROM public.multimodal_items '
                           'WHERE modality = %L LIMIT 1000) AS sample (e)', known.modality)
                INTO mean;
            sampled := sampled OR mean IS NOT NULL;
        END IF;
        IF mean IS NOT NULL THEN
            modalities := modalities || known.modality;
            means := means || mean;
        END IF;
    END LOOP;
END $$;

COMMENT ON FUNCTION public.modality_means(space integer, OUT modalities text[], OUT means public.vector[], OUT sampled boolean) IS 'The mean vectors that calibrated ranking subtracts, per modality that has items.';

CREATE FUNCTION public.near_duplicates(threshold real DEFAULT 0.95, modality text DEFAULT 'image'::text, filter jsonb DEFAULT '{}'::jsonb, neighbours integer DEFAULT 10) RETURNS TABLE(id bigint, other_id bigint, similarity real, content_ref text, other_content_ref text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "hnsw.iterative_scan" TO 'relaxed_order'
    SET enable_seqscan TO 'on'
    SET jit TO 'off'
    AS $_$
BEGIN
    IF threshold IS NULL OR threshold NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'the threshold is %, and must be between 0 and 1',
            coalesce(threshold::text, 'null') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY EXECUTE format(
        $sql$
        SELECT DISTINCT ON (1, 2) least(a.id, b.id), greatest(a.id, b.id), (1 - b.distance)::real,
            CASE WHEN a.id < b.id THEN a.content_ref ELSE b.content_ref END,
            CASE WHEN a.id < b.id THEN b.content_ref ELSE a.content_ref END
        FROM public.multimodal_items AS a
        CROSS JOIN LATERAL (
            SELECT i.id, i.content_ref, i.source_id,
                i.embedding OPERATOR(public.<=>) a.embedding AS distance
            FROM public.multimodal_items AS i
            WHERE i.modality = %1$L
            ORDER BY i.embedding OPERATOR(public.<=>) a.embedding
            LIMIT %2$s  -- the item itself is among them
        ) AS b
        WHERE a.modality = %1$L AND a.metadata @> $1
          AND b.source_id <> a.source_id AND b.distance <= 1 - $2
        ORDER BY 1, 2
        $sql$, modality, neighbours + 1) USING filter, threshold;
END $_$;

COMMENT ON FUNCTION public.near_duplicates(threshold real, modality text, filter jsonb, neighbours integer) IS 'Pairs of items of one modality whose similarity reaches the threshold, each pair once.';

CREATE FUNCTION public.query_embeddings_missing(queries text[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    refused record;
BEGIN
    SELECT count(*) FILTER (WHERE q.embedding IS NULL) AS missing,
           min(q.error) AS error, min(q.query) FILTER (WHERE q.error IS NOT NULL) AS query
    INTO refused
    FROM unnest(queries) AS asked (query)
    LEFT JOIN public.embedding_spaces AS s ON s.state = 'active'
    LEFT JOIN public.query_embeddings AS q
        ON q.space_id = s.id AND q.query_sha256 = public.query_key(asked.query);
    IF refused.error IS NOT NULL THEN
        RAISE EXCEPTION 'the query "%" cannot be embedded: %', left(refused.query, 100),
            refused.error
            USING ERRCODE = 'MM004', HINT = 'Change the text and try again.';
    END IF;
    RETURN refused.missing;
END $$;

COMMENT ON FUNCTION public.query_embeddings_missing(queries text[]) IS 'How many of these texts have no vector yet. Raises what the server said against one.';

CREATE FUNCTION public.query_key(query text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(convert_to(query, 'UTF8'::name));

COMMENT ON FUNCTION public.query_key(query text) IS 'The key of a text in query_embeddings: SHA-256 of its UTF-8.';

CREATE FUNCTION public.refresh_space_statistics(space text DEFAULT NULL::text) RETURNS TABLE(space_name text, of_modality text, items bigint)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    known  record;
    centre public.halfvec;
    pages  bigint;
    sample text;
BEGIN
    FOR known IN
        SELECT s.id, s.name, m.modality,
               public.items_table(s.id, m.modality) AS items_table
        FROM public.embedding_spaces AS s
        JOIN public.space_modalities AS m ON m.space_id = s.id
        WHERE s.state <> 'retired' AND (space IS NULL OR s.name = space)
        ORDER BY s.id, m.modality
    LOOP
        CONTINUE WHEN known.items_table IS NULL;
        -- 25,000 pages hold some 200,000 vectors: enough for a mean to four digits.
        pages := pg_relation_size(known.items_table) / current_setting('block_size')::bigint;
        sample := CASE WHEN pages > 25000
                       THEN format('TABLESAMPLE SYSTEM (%s)', 100.0 * 25000 / pages) END;
        EXECUTE format('SELECT count(*) FROM %s', known.items_table) INTO items;
        EXECUTE format('SELECT public.avg(embedding) FROM %s %s', known.items_table, sample)
            INTO centre;
        UPDATE public.space_modalities AS m
        SET item_count = items, mean = centre, measured_at = now()
        WHERE m.space_id = known.id AND m.modality = known.modality;
        space_name := known.name;
        of_modality := known.modality;
        RETURN NEXT;
    END LOOP;
END $$;

COMMENT ON FUNCTION public.refresh_space_statistics(space text) IS 'Counts the items and takes their mean vector, per modality of the spaces in use: what calibrated ranking and the choice between index and exact search go by.';

CREATE FUNCTION public.refuse_modalities(names text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'there is no modality %',
        (SELECT string_agg(quote_literal(n), ', ' ORDER BY n) FROM unnest(names) AS n)
        USING ERRCODE = 'check_violation', CONSTRAINT = 'source_items_modality_known',
        TABLE = 'source_items', COLUMN = 'modality',
        DETAIL = format('There are: %s.', (
            SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM public.known_modalities AS k)),
        HINT = 'Write one of these; another one is a row of known_modalities first.';
END $$;

COMMENT ON FUNCTION public.refuse_modalities(names text[]) IS 'Raises, naming the modalities that are known.';

CREATE FUNCTION public.search_items(query text DEFAULT NULL::text, embedding public.halfvec DEFAULT NULL::public.halfvec, like_item bigint DEFAULT NULL::bigint, modality text[] DEFAULT NULL::text[], k integer DEFAULT 10, filter jsonb DEFAULT '{}'::jsonb, min_similarity real DEFAULT NULL::real, ranking text DEFAULT 'calibrated'::text, query_modality text DEFAULT NULL::text) RETURNS SETOF public.item_match
    LANGUAGE plpgsql ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "hnsw.ef_search" TO '100'
    SET "hnsw.iterative_scan" TO 'relaxed_order'
    SET "hnsw.max_scan_tuples" TO '100000'
    SET enable_seqscan TO 'on'
    SET jit TO 'off'
    AS $_$
DECLARE
    active     record;
    asked      record;
    probe      public.halfvec;  -- the query's vector
    of_query   text;      -- its modality
    itself     bigint;    -- the source item of like_item, which is not among its own neighbours
    modalities text[];
    means      public.vector[];
    centred    public.vector;   -- the query less the mean of its modality
    filtered   boolean := filter <> '{}';
    exact      boolean[]; -- per modality: every match is compared, no index
    candidates integer;
    pieces     text := '';
    statement  text;
    result     public.item_match[];
    more       boolean;
    comparand  text;
    n          integer;
    few        bigint;
    tuned      integer;   -- ef_search
BEGIN
    IF num_nonnulls(query, embedding, like_item) <> 1 THEN
        RAISE EXCEPTION 'give exactly one of query, embedding and like_item' USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'search_items(''a red bicycle''), search_items(embedding => ...) or '
                   'search_items(like_item => 42)';
    END IF;
    IF k IS NULL OR k < 1 OR k > 100000 THEN
        RAISE EXCEPTION 'k is %, and must be between 1 and 100000', coalesce(k::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF ranking IS NULL OR ranking NOT IN ('raw', 'calibrated', 'quota') THEN
        RAISE EXCEPTION 'there is no ranking %', quote_nullable(ranking) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Use calibrated, raw or quota.';
    END IF;
    IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is %, and must be a JSON object', quote_nullable(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'filter => ''{"colour": "red"}''';
    END IF;

    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM public.multimodal_items LIMIT 0;
    SELECT s.id, s.dimensions, s.vector_type, s.ef_search INTO active
    FROM public.embedding_spaces AS s WHERE s.state = 'active';
    IF active IS NULL THEN
        RAISE EXCEPTION 'no embedding space is active' USING
            ERRCODE = 'MM001',
            HINT = 'Run `pipeline migrate` to create one, or `pipeline space activate NAME`.';
    END IF;
    SELECT array_agg(m.modality ORDER BY m.modality) AS known,
           array_agg(m.modality ORDER BY m.modality) FILTER (
               WHERE search_items.modality IS NULL OR m.modality = ANY (search_items.modality)
           ) AS chosen,
           max(m.item_count) AS items
    INTO asked
    FROM public.space_modalities AS m WHERE m.space_id = active.id;
    modalities := asked.chosen;
    IF NOT coalesce(modality <@ asked.known AND cardinality(modality) > 0, true) THEN
        RAISE EXCEPTION 'there is no modality %', modality USING
            ERRCODE = 'invalid_parameter_value',
            HINT = format('Use modality => %L, or leave it out for all.', asked.known);
    END IF;

    -- The query's vector.
    IF query IS NOT NULL THEN
        probe := public.text_embedding(query);
        of_query := 'text';
    ELSIF like_item IS NOT NULL THEN
        SELECT i.embedding, i.modality, i.source_id INTO probe, of_query, itself
        FROM public.multimodal_items AS i WHERE i.id = like_item;
        IF probe IS NULL THEN
            RAISE EXCEPTION 'there is no item %', like_item USING
                ERRCODE = 'no_data_found',
                HINT = 'Items have their numbers in multimodal_items.id.';
        END IF;
    ELSE
        IF public.vector_dims(embedding) <> active.dimensions THEN
            RAISE EXCEPTION 'the embedding has % dimensions, the active space %',
                public.vector_dims(embedding), active.dimensions
                USING ERRCODE = 'data_exception',
                HINT = 'Only vectors of the active space''s model can be compared.';
        END IF;
        probe := embedding;
        of_query := query_modality;
    END IF;

    -- What calibrated ranking needs; over one modality every ranking is that of the similarity.
    IF ranking = 'calibrated' AND cardinality(modalities) > 1 THEN
        DECLARE
            known record;
            own   public.vector;
        BEGIN
            SELECT * INTO known FROM public.modality_means(active.id);
            SELECT array_agg(u.m ORDER BY u.n), array_agg(known.means[u.n] ORDER BY u.n)
            INTO modalities, means
            FROM unnest(known.modalities) WITH ORDINALITY AS u (m, n)
            WHERE u.m = ANY (asked.chosen);
            IF modalities IS NULL THEN
                modalities := asked.chosen;
            ELSIF cardinality(modalities) > 1 THEN
                -- A vector from outside is of the modality in whose cone it lies.
                SELECT known.means[u.n] INTO own
                FROM unnest(known.modalities) WITH ORDINALITY AS u (m, n)
                ORDER BY u.m IS DISTINCT FROM of_query,
                    known.means[u.n] OPERATOR(public.<=>) probe::public.vector
                LIMIT 1;
                centred := probe::public.vector OPERATOR(public.-) own;
                IF public.vector_norm(centred) < 0.001 THEN
                    centred := NULL;  -- the mean itself: nothing is left to compare
                END IF;
                IF known.sampled THEN
                    RAISE NOTICE 'the modalities'' means were taken from a sample'
                        USING HINT = 'SELECT * FROM refresh_space_statistics() stores them.';
                END IF;
            END IF;
        END;
    END IF;

    -- Text queries on images, say, are unlike what the graph was built of and need more.
    SELECT max(coalesce(t.ef_search, m.ef_search, active.ef_search)) INTO tuned
    FROM public.space_modalities AS m
    LEFT JOIN public.space_tunings AS t
        ON t.space_id = m.space_id AND t.item_modality = m.modality
        AND t.query_modality = coalesce(of_query, t.query_modality)
    WHERE m.space_id = active.id AND m.modality = ANY (modalities);

    -- Exact search where it is faster: its cost grows with the matches m, that of the index with
    -- k * items / m, and they meet where m * m is some 3 * k * items.
    few := greatest(5000, least(50000, sqrt(3.0 * k * asked.items)))::bigint;
    SELECT array_agg(CASE WHEN filtered OR row_security_active('public.multimodal_items')
                          THEN public.has_few_matches(u.m, filter, few) ELSE false END
                     ORDER BY u.n)
    INTO exact
    FROM unnest(modalities) WITH ORDINALITY AS u (m, n);

    -- Calibrated candidates are those nearest to the centred query, so more of them are needed:
    -- the index knows the items' directions, not those of the items less their mean.
    candidates := CASE WHEN centred IS NULL THEN k ELSE greatest(4 * k, 100) END;
    LOOP
        pieces := '';
        FOR n IN 1 .. cardinality(modalities) LOOP
            comparand := CASE WHEN centred IS NULL OR exact[n] THEN '$1' ELSE '$2' END;
            pieces := pieces || format(
                '%s(SELECT i.id, i.source_id, i.part, i.modality, i.content_ref, i.metadata, '
                '%s AS distance, %s AS centred FROM public.multimodal_items AS i '
                'WHERE i.modality = %L%s%s%s ORDER BY %s LIMIT %s)',
                CASE WHEN n > 1 THEN ' UNION ALL ' END,
                format('i.embedding OPERATOR(public.<=>) $1::public.%I', active.vector_type),
                CASE WHEN centred IS NULL THEN '0::float8' ELSE format(
                    '(i.embedding::public.vector OPERATOR(public.-) $5[%s]) '
                    'OPERATOR(public.<=>) $6', n) END,
                modalities[n],
                CASE WHEN filtered THEN ' AND i.metadata @> $3' END,
                CASE WHEN itself IS NOT NULL THEN ' AND i.source_id <> $4' END,
                CASE WHEN min_similarity IS NOT NULL AND centred IS NOT NULL THEN format(
                    ' AND (i.embedding OPERATOR(public.<=>) $1::public.%I) <= 1 - $7',
                    active.vector_type) END,
                CASE WHEN exact[n] AND centred IS NOT NULL
                     THEN format('(i.embedding::public.vector OPERATOR(public.-) $5[%s]) '
                                 'OPERATOR(public.<=>) $6', n)
                     WHEN exact[n]
                     THEN format('(i.embedding OPERATOR(public.<=>) $1::public.%I) + 0',
                                 active.vector_type)
                     ELSE format('i.embedding OPERATOR(public.<=>) %s::public.%I',
                                 comparand, active.vector_type) END,
                candidates);
        END LOOP;
        statement := format(
            $sql$
            WITH candidates AS MATERIALIZED (%1$s),
            scored AS (
                SELECT *, 1 - distance AS similarity, %2$s AS score FROM candidates
            ),
            best AS (  -- of the parts of one source item
                SELECT DISTINCT ON (source_id) * FROM scored
                WHERE $7 IS NULL OR similarity >= $7
                ORDER BY source_id, score DESC, id
            ),
            placed AS (
                SELECT *, row_number() OVER (PARTITION BY modality ORDER BY score DESC, id) AS place
                FROM best
            ),
            ranked AS (
                SELECT *, row_number() OVER (ORDER BY %3$s score DESC, id) AS rank
                FROM placed ORDER BY rank LIMIT %4$s
            )
            SELECT (SELECT array_agg((rank, id, source_id, part, modality, content_ref, metadata,
                        similarity, %5$s)::public.item_match ORDER BY rank) FROM ranked),
                   EXISTS (SELECT FROM scored GROUP BY modality
                           HAVING count(*) = %6$s AND ($7 IS NULL OR min(similarity) >= $7))
            $sql$,
            pieces,
            CASE WHEN centred IS NULL THEN '1 - distance' ELSE '1 - centred' END,
            CASE WHEN ranking = 'quota' THEN 'place,' END,
            k,
            CASE WHEN ranking = 'quota' AND cardinality(modalities) > 1
                 THEN '1.0 / place' ELSE 'score' END,
            candidates);
        PERFORM set_config('hnsw.ef_search',
            least(1000, greatest(tuned, 2 * candidates))::text, true);
        IF true = ALL (exact) THEN
            PERFORM set_config('enable_seqscan', 'off', true);
        END IF;
        EXECUTE statement INTO result, more
            USING probe, public.l2_normalize(centred)::public.halfvec, filter, itself, means,
                  centred, min_similarity::float8;
        EXIT WHEN cardinality(result) >= k;
        IF more THEN
            candidates := 4 * candidates;  -- many of them were parts of one source item
        ELSIF true = ALL (exact) OR min_similarity IS NOT NULL AND centred IS NULL
              AND NOT filtered AND cardinality(result) > 0 THEN
            EXIT;
        ELSE
            -- The index scan ended before it found enough: it looks at so many rows at most.
            exact := array_fill(true, ARRAY[cardinality(modalities)]);
        END IF;
    END LOOP;

    IF coalesce(cardinality(result), 0) < k THEN
        RAISE NOTICE 'only % of the % asked for: %', coalesce(cardinality(result), 0), k, CASE
            WHEN min_similarity IS NOT NULL THEN format(
                'no other item%s has a similarity of at least %s',
                CASE WHEN filtered THEN ' that matches the filter' END, min_similarity)
            WHEN filtered THEN 'no other item matches the filter'
            ELSE 'there are no other items' END;
    END IF;
    RETURN QUERY SELECT r.* FROM unnest(result) AS r;
END $_$;

COMMENT ON FUNCTION public.search_items(query text, embedding public.halfvec, like_item bigint, modality text[], k integer, filter jsonb, min_similarity real, ranking text, query_modality text) IS 'The k items nearest to a text, a vector or a stored item, best first, one row per source item: SELECT * FROM search_items(''a red bicycle'', modality => ''{image}''). Over several modalities ranking is calibrated (each modality''s mean subtracted), raw, or quota; query_modality says what an embedding was made from, where that is known.';

CREATE FUNCTION public.source_items_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    gone  bigint[];
    space integer;
BEGIN
    SELECT array_agg(o.id ORDER BY o.id) INTO gone FROM old_rows AS o;
    IF gone IS NULL THEN
        RETURN NULL;
    END IF;
    -- Jobs first: a worker that is writing holds the job; once it is through, its items are seen
    -- by the statements below, and if it comes later it finds no job and writes nothing.
    PERFORM public.lock_jobs(gone);
    FOR space IN SELECT e.id FROM public.embedding_spaces AS e ORDER BY e.id LOOP
        DELETE FROM public.ingest_jobs AS j
        WHERE j.space_id = space AND j.source_id = ANY (gone);
        PERFORM public.delete_items(space, gone);
    END LOOP;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION public.source_items_deleted() IS 'Removes the jobs and the items of deleted source items, in every space.';

CREATE FUNCTION public.source_items_inserted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    strange text[];
BEGIN
    SELECT array_agg(DISTINCT n.modality) INTO strange FROM new_rows AS n
    WHERE NOT EXISTS (SELECT FROM public.known_modalities AS k WHERE k.name = n.modality);
    IF strange IS NOT NULL THEN
        PERFORM public.refuse_modalities(strange);
    END IF;
    INSERT INTO public.ingest_jobs (space_id, source_id)
    SELECT m.space_id, n.id
    FROM new_rows AS n JOIN public.space_modalities AS m ON m.modality = n.modality;
    IF FOUND THEN
        NOTIFY ingest_jobs;  -- wakes workers that wait; polling is the truth
    END IF;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION public.source_items_inserted() IS 'Creates the jobs of new source items, in every space that has their modality.';

CREATE FUNCTION public.source_items_touch() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

COMMENT ON FUNCTION public.source_items_touch() IS 'Keeps source_items.updated_at.';

CREATE FUNCTION public.source_items_truncated() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    items regclass;
BEGIN
    TRUNCATE public.ingest_jobs;
    FOR items IN
        SELECT public.items_table(m.space_id, m.modality) FROM public.space_modalities AS m
        ORDER BY m.space_id, m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('TRUNCATE %s', items);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION public.source_items_truncated() IS 'Removes every job and item when source_items is truncated.';

CREATE FUNCTION public.source_items_updated() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    changed bigint[];
    moved   bigint[];  -- those of another modality than before
    strange text[];
BEGIN
    SELECT array_agg(n.id ORDER BY n.id),
           array_agg(n.id ORDER BY n.id) FILTER (WHERE n.modality IS DISTINCT FROM o.modality)
    INTO changed, moved
    FROM new_rows AS n LEFT JOIN old_rows AS o USING (id)
    WHERE (n.modality, n.content_ref, n.metadata)
        IS DISTINCT FROM (o.modality, o.content_ref, o.metadata);
    IF moved IS NOT NULL THEN
        SELECT array_agg(DISTINCT n.modality) INTO strange FROM new_rows AS n
        WHERE NOT EXISTS (SELECT FROM public.known_modalities AS k WHERE k.name = n.modality);
        IF strange IS NOT NULL THEN
            PERFORM public.refuse_modalities(strange);
        END IF;
        -- Those that are re-opened and those that go in one order, whatever comes below.
        PERFORM public.lock_jobs(changed);
    END IF;
    IF changed IS NOT NULL AND public.enqueue_source_items(changed) > 0 THEN
        NOTIFY ingest_jobs;
    END IF;
    IF moved IS NOT NULL THEN
        PERFORM public.withdraw_source_items(moved);
    END IF;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION public.source_items_updated() IS 'Re-opens the jobs of source items whose content or metadata changed; one of another modality leaves the spaces that lack it.';

CREATE FUNCTION public.space_items(OUT space_id integer, OUT modality text, OUT items bigint, OUT per_minute real, OUT table_bytes bigint, OUT index_bytes bigint, OUT index_is_valid boolean) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    known  record;
    recent record;
BEGIN
    FOR known IN
        SELECT m.space_id, m.modality, c.oid, c.reltuples, i.indexrelid, i.indisvalid
        FROM public.space_modalities AS m
        JOIN pg_class AS c ON c.oid = public.items_table(m.space_id, m.modality)
        LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indexrelid = to_regclass(
            format('public.%I', c.relname || '_embedding'))
        ORDER BY m.space_id, m.modality
    LOOP
        space_id := known.space_id;
        modality := known.modality;
        IF known.reltuples > 1000000 THEN
            items := known.reltuples;  -- as of the last ANALYZE: counting takes seconds
        ELSE
            EXECUTE format('SELECT count(*) FROM %s', known.oid::regclass) INTO items;
        END IF;
        -- Numbers rise with time, so the newest items are read backwards until one is too old.
        per_minute := 0;
        FOR recent IN EXECUTE
            format('SELECT embedded_at FROM %s ORDER BY id DESC', known.oid::regclass)
        LOOP
            EXIT WHEN recent.embedded_at < now() - interval '15 minutes';
            per_minute := per_minute + 1;
        END LOOP;
        per_minute := per_minute / 15;
        table_bytes := pg_table_size(known.oid);
        index_bytes := pg_relation_size(known.indexrelid);
        index_is_valid := known.indisvalid;
        RETURN NEXT;
    END LOOP;
END $$;

COMMENT ON FUNCTION public.space_items(OUT space_id integer, OUT modality text, OUT items bigint, OUT per_minute real, OUT table_bytes bigint, OUT index_bytes bigint, OUT index_is_valid boolean) IS 'Per space and modality: items, new items per minute over the last quarter hour, sizes.';

CREATE FUNCTION public.text_embedding(query text, timeout interval DEFAULT '00:00:10'::interval) RETURNS public.halfvec
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER COST 300
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    answer public.halfvec;
    used   timestamptz;
BEGIN
    SELECT q.embedding, q.last_used_at INTO answer, used
    FROM public.embedding_spaces AS s
    JOIN public.query_embeddings AS q ON q.space_id = s.id
    WHERE s.state = 'active'
      AND q.query_sha256 = public.query_key(text_embedding.query);
    IF answer IS NULL THEN
        RETURN (public.text_embeddings(ARRAY[text_embedding.query], timeout))[1];
    END IF;
    -- A SELECT must not write, so the use is noted by the loop-back, at most once an hour.
    IF used < now() - interval '1 hour' THEN
        PERFORM public.touch_query_embeddings(ARRAY[text_embedding.query]);
    END IF;
    RETURN answer;
END $$;

COMMENT ON FUNCTION public.text_embedding(query text, timeout interval) IS 'The unit vector of a text in the active space: ORDER BY embedding <=> text_embedding(''a red bicycle'') LIMIT 10. Cached; a new text is embedded by a running `pipeline serve`.';

CREATE FUNCTION public.text_embeddings(queries text[], timeout interval DEFAULT '00:00:10'::interval) RETURNS public.halfvec[]
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER COST 1000
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    answers public.halfvec[] := public.cached_query_embeddings(queries);
BEGIN
    IF array_position(answers, NULL) IS NULL THEN
        RETURN answers;
    END IF;
    RETURN public.text_embeddings_by_loopback(queries, timeout);
END $$;

COMMENT ON FUNCTION public.text_embeddings(queries text[], timeout interval) IS 'The unit vectors of several texts, in their order; new ones are embedded in one batch.';

CREATE FUNCTION public.text_embeddings_by_loopback(queries text[], timeout interval) RETURNS public.halfvec[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    dblink  text := (SELECT extnamespace::regnamespace::text FROM pg_extension
                     WHERE extname = 'dblink');
    reached boolean := false;
    target  text;
    answers public.halfvec[];
    code    text;
    message text;
    advice  text;
BEGIN
    -- Committed since the calling statement began, perhaps by another part of it.
    answers := public.cached_query_embeddings(queries);
    IF array_position(answers, NULL) IS NULL THEN
        RETURN answers;
    END IF;
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the query has no vector yet, and a standby cannot ask for one' USING
            ERRCODE = 'MM005', HINT = 'Search for it on the primary once; then it is found here.';
    END IF;
    target := public.loopback_connection();
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
            USING format('CALL public.embed_queries(%L::text[], %L::interval)', queries, timeout);
        EXECUTE format('SELECT answers FROM %s.dblink(''pipeline_loopback'', $1) '
                       'AS t (answers public.halfvec[])', dblink)
            INTO answers
            USING format('SELECT public.cached_query_embeddings(%L::text[])', queries);
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
END $_$;

COMMENT ON FUNCTION public.text_embeddings_by_loopback(queries text[], timeout interval) IS 'The vectors of texts that the cache lacks, asked for through the loop-back connection.';

CREATE FUNCTION public.touch_query_embeddings(queries text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    dblink text := (SELECT extnamespace::regnamespace::text FROM pg_extension
                    WHERE extname = 'dblink');
    target text := public.loopback_connection();
BEGIN
    IF dblink IS NULL OR target IS NULL OR pg_is_in_recovery() THEN
        RETURN;  -- then the cache forgets in the order of asking
    END IF;
    EXECUTE format('SELECT FROM %s.dblink($1, $2) AS t (touched text)', dblink)
        USING target, format(
            'UPDATE public.query_embeddings AS q SET last_used_at = pg_catalog.now() '
            'FROM public.embedding_spaces AS s '
            'WHERE s.state = ''active'' AND q.space_id = s.id AND q.query_sha256 IN '
            '(SELECT public.query_key(t) FROM pg_catalog.unnest(%L::text[]) AS t) '
            'AND q.last_used_at < pg_catalog.now() - interval ''1 hour'' RETURNING ''touched''',
            queries);
EXCEPTION WHEN OTHERS THEN
    NULL;  -- a search does not fail because its use could not be noted
END $_$;

COMMENT ON FUNCTION public.touch_query_embeddings(queries text[]) IS 'Notes that these texts were used now, for the cache to keep them.';

CREATE FUNCTION public.withdraw_source_items(ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    lacking record;
BEGIN
    FOR lacking IN
        SELECT e.id AS space, array_agg(s.id ORDER BY s.id) AS ids
        FROM public.source_items AS s CROSS JOIN public.embedding_spaces AS e
        WHERE s.id = ANY (ids) AND NOT EXISTS (
            SELECT FROM public.space_modalities AS m
            WHERE m.space_id = e.id AND m.modality = s.modality)
        GROUP BY e.id ORDER BY e.id
    LOOP
        DELETE FROM public.ingest_jobs AS j
        WHERE j.space_id = lacking.space AND j.source_id = ANY (lacking.ids);
        PERFORM public.delete_items(lacking.space, lacking.ids);
    END LOOP;
END $$;

COMMENT ON FUNCTION public.withdraw_source_items(ids bigint[]) IS 'Removes the jobs and the items of these source items from the spaces that lack their modality. Whoever calls it holds the jobs.';

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.embedding_spaces (
    id integer NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    model text NOT NULL,
    dimensions integer NOT NULL,
    vector_type text NOT NULL,
    "precision" text NOT NULL,
    context_length integer NOT NULL,
    weights_sha256 text NOT NULL,
    fingerprint text NOT NULL,
    description jsonb NOT NULL,
    hnsw_m integer NOT NULL,
    hnsw_ef_construction integer NOT NULL,
    ef_search integer DEFAULT 100 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    activated_at timestamp with time zone,
    retired_at timestamp with time zone,
    probed_with jsonb,
    CONSTRAINT embedding_spaces_dimensions_positive CHECK ((dimensions > 0)),
    CONSTRAINT embedding_spaces_name_plain CHECK ((name ~ '^[a-z][a-z0-9_]{0,39}$'::text)),
    CONSTRAINT embedding_spaces_state_known CHECK ((state = ANY (ARRAY['building'::text, 'active'::text, 'retired'::text]))),
    CONSTRAINT embedding_spaces_vector_type_known CHECK ((vector_type = ANY (ARRAY['halfvec'::text, 'vector'::text])))
);

COMMENT ON TABLE public.embedding_spaces IS 'Embedding spaces: exactly one model each, at most one of them active.';

COMMENT ON COLUMN public.embedding_spaces.id IS 'Number of the space.';

COMMENT ON COLUMN public.embedding_spaces.name IS 'Short name, used on the command line.';

COMMENT ON COLUMN public.embedding_spaces.state IS 'building, active or retired.';

COMMENT ON COLUMN public.embedding_spaces.model IS 'The model as asked for, such as ViT-B-32/openai.';

COMMENT ON COLUMN public.embedding_spaces.dimensions IS 'Dimensions of every vector of the space.';

COMMENT ON COLUMN public.embedding_spaces.vector_type IS 'halfvec or vector.';

COMMENT ON COLUMN public.embedding_spaces."precision" IS 'Precision of the model''s weights.';

COMMENT ON COLUMN public.embedding_spaces.context_length IS 'Tokens a text may have.';

COMMENT ON COLUMN public.embedding_spaces.weights_sha256 IS 'SHA-256 of the weights.';

COMMENT ON COLUMN public.embedding_spaces.fingerprint IS 'SHA-256 over everything that makes two vectors comparable.';

COMMENT ON COLUMN public.embedding_spaces.description IS 'What the fingerprint covers, spelled out: preprocessing, tokenizer and so on.';

COMMENT ON COLUMN public.embedding_spaces.hnsw_m IS 'HNSW: links per node.';

COMMENT ON COLUMN public.embedding_spaces.hnsw_ef_construction IS 'HNSW: candidates while building.';

COMMENT ON COLUMN public.embedding_spaces.ef_search IS 'HNSW: candidates while searching, unless tuned.';

COMMENT ON COLUMN public.embedding_spaces.created_at IS 'When the space was created.';

COMMENT ON COLUMN public.embedding_spaces.activated_at IS 'When it last became active.';

COMMENT ON COLUMN public.embedding_spaces.retired_at IS 'When it last ceased to be.';

COMMENT ON COLUMN public.embedding_spaces.probed_with IS 'Versions of the libraries that embedded the probes.';

ALTER TABLE public.embedding_spaces ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.embedding_spaces_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.ingest_jobs (
    space_id integer NOT NULL,
    source_id bigint NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    error_code text,
    error text,
    run_after timestamp with time zone DEFAULT now() NOT NULL,
    leased_until timestamp with time zone,
    worker text,
    version bigint NOT NULL,
    CONSTRAINT ingest_jobs_failed_has_code CHECK (((state <> 'failed'::text) OR (error_code IS NOT NULL))),
    CONSTRAINT ingest_jobs_running_is_leased CHECK (((state = 'running'::text) = ((leased_until IS NOT NULL) AND (worker IS NOT NULL)))),
    CONSTRAINT ingest_jobs_state_known CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'failed'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_scale_factor='0.2', autovacuum_analyze_scale_factor='0.05');

COMMENT ON TABLE public.ingest_jobs IS 'The queue: one job per space and source item; finished ones are deleted.';

COMMENT ON COLUMN public.ingest_jobs.space_id IS 'The space to embed into.';

COMMENT ON COLUMN public.ingest_jobs.source_id IS 'The source item to embed.';

COMMENT ON COLUMN public.ingest_jobs.state IS 'pending, running or failed.';

COMMENT ON COLUMN public.ingest_jobs.attempts IS 'Claims so far; counted at the claim.';

COMMENT ON COLUMN public.ingest_jobs.error_code IS 'Short code of the last failure.';

COMMENT ON COLUMN public.ingest_jobs.error IS 'What happened and what to do.';

COMMENT ON COLUMN public.ingest_jobs.run_after IS 'Not to be claimed before.';

COMMENT ON COLUMN public.ingest_jobs.leased_until IS 'When the claim lapses.';

COMMENT ON COLUMN public.ingest_jobs.worker IS 'Who holds the claim.';

COMMENT ON COLUMN public.ingest_jobs.version IS 'Fence: never the same again once the source item has changed.';

CREATE TABLE public.source_items (
    id bigint NOT NULL,
    source text NOT NULL,
    source_key text NOT NULL,
    modality text NOT NULL,
    content_ref text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.source_items IS 'Rows to embed. INSERT, UPDATE and DELETE here; triggers keep the queue.';

COMMENT ON COLUMN public.source_items.id IS 'Number of the row.';

COMMENT ON COLUMN public.source_items.source IS 'Where the row comes from, such as a system.';

COMMENT ON COLUMN public.source_items.source_key IS 'The row''s key there; unique per source.';

COMMENT ON COLUMN public.source_items.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.source_items.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.source_items.metadata IS 'Anything to filter and show by; copied to the items.';

COMMENT ON COLUMN public.source_items.created_at IS 'When the row was added.';

COMMENT ON COLUMN public.source_items.updated_at IS 'When the row last changed; kept by a trigger.';

CREATE VIEW public.ingest_failures AS
 SELECT s.name AS space,
    j.source_id,
    i.source,
    i.source_key,
    i.modality,
    j.error_code,
    j.error,
    j.attempts,
    j.state,
    i.content_ref
   FROM ((public.source_items i
     JOIN public.ingest_jobs j ON ((j.source_id = i.id)))
     JOIN public.embedding_spaces s ON ((s.id = j.space_id)))
  WHERE (j.error_code IS NOT NULL);

COMMENT ON VIEW public.ingest_failures IS 'Source items whose last attempt failed: given up (failed) or to be tried again (pending).';

COMMENT ON COLUMN public.ingest_failures.space IS 'The space''s name.';

COMMENT ON COLUMN public.ingest_failures.source_id IS 'Number of the source item.';

COMMENT ON COLUMN public.ingest_failures.source IS 'Where it comes from.';

COMMENT ON COLUMN public.ingest_failures.source_key IS 'Its key there.';

COMMENT ON COLUMN public.ingest_failures.modality IS 'Its modality.';

COMMENT ON COLUMN public.ingest_failures.error_code IS 'Short code; docs/errors.md explains each.';

COMMENT ON COLUMN public.ingest_failures.error IS 'What happened and what to do.';

COMMENT ON COLUMN public.ingest_failures.attempts IS 'How often it was tried.';

COMMENT ON COLUMN public.ingest_failures.state IS 'failed: given up; pending: will be tried again.';

COMMENT ON COLUMN public.ingest_failures.content_ref IS 'The text itself, or the path or URI of the content.';

CREATE SEQUENCE public.ingest_job_versions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 64;

ALTER SEQUENCE public.ingest_job_versions OWNED BY public.ingest_jobs.version;

CREATE VIEW public.ingest_status AS
 SELECT s.name AS space,
    s.state,
    i.modality,
    i.items,
    COALESCE(j.pending, (0)::bigint) AS pending,
    COALESCE(j.running, (0)::bigint) AS running,
    COALESCE(j.failed, (0)::bigint) AS failed,
    j.oldest_pending,
    i.per_minute
   FROM ((public.embedding_spaces s
     JOIN public.space_items() i(space_id, modality, items, per_minute, table_bytes, index_bytes, index_is_valid) ON ((i.space_id = s.id)))
     LEFT JOIN ( SELECT jobs.space_id,
            source.modality,
            count(*) FILTER (WHERE (jobs.state = 'pending'::text)) AS pending,
            count(*) FILTER (WHERE (jobs.state = 'running'::text)) AS running,
            count(*) FILTER (WHERE (jobs.state = 'failed'::text)) AS failed,
            (now() - min(source.updated_at) FILTER (WHERE (jobs.state = 'pending'::text))) AS oldest_pending
           FROM (public.source_items source
             JOIN public.ingest_jobs jobs ON ((jobs.source_id = source.id)))
          GROUP BY jobs.space_id, source.modality) j ON (((j.space_id = s.id) AND (j.modality = i.modality))));

COMMENT ON VIEW public.ingest_status IS 'How far the ingestion is, per space and modality.';

COMMENT ON COLUMN public.ingest_status.space IS 'The space''s name.';

COMMENT ON COLUMN public.ingest_status.state IS 'building, active or retired.';

COMMENT ON COLUMN public.ingest_status.modality IS 'One of the space''s.';

COMMENT ON COLUMN public.ingest_status.items IS 'Items there are; above a million as of the last ANALYZE.';

COMMENT ON COLUMN public.ingest_status.pending IS 'Jobs that wait.';

COMMENT ON COLUMN public.ingest_status.running IS 'Jobs that a worker holds.';

COMMENT ON COLUMN public.ingest_status.failed IS 'Jobs given up; see ingest_failures.';

COMMENT ON COLUMN public.ingest_status.oldest_pending IS 'How long ago the source item changed whose job waits longest.';

COMMENT ON COLUMN public.ingest_status.per_minute IS 'New items per minute over the last quarter hour.';

CREATE TABLE public.installed_sql (
    sha256 text NOT NULL,
    version text NOT NULL,
    roles boolean NOT NULL,
    objects text[] NOT NULL,
    grants text[] NOT NULL,
    installed_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.installed_sql IS 'One row: which functions, triggers and views the last migrate installed.';

COMMENT ON COLUMN public.installed_sql.sha256 IS 'SHA-256 of their text.';

COMMENT ON COLUMN public.installed_sql.version IS 'Version of the package they came with.';

COMMENT ON COLUMN public.installed_sql.roles IS 'Whether the roles pipeline_* are among it.';

COMMENT ON COLUMN public.installed_sql.objects IS 'What was made, with its kind; what a later release lacks goes.';

COMMENT ON COLUMN public.installed_sql.grants IS 'What the roles were given; it is not given again.';

COMMENT ON COLUMN public.installed_sql.installed_at IS 'When.';

CREATE TABLE public.known_modalities (
    name text NOT NULL,
    media text NOT NULL,
    inline boolean NOT NULL,
    description text NOT NULL,
    CONSTRAINT known_modalities_media_known CHECK ((media = ANY (ARRAY['text'::text, 'image'::text, 'audio'::text, 'video'::text, 'application'::text]))),
    CONSTRAINT known_modalities_name_plain CHECK ((name ~ '^[a-z][a-z0-9_]{0,19}$'::text))
);

COMMENT ON TABLE public.known_modalities IS 'What a source item may be; a further row allows a further modality.';

COMMENT ON COLUMN public.known_modalities.name IS 'The modality.';

COMMENT ON COLUMN public.known_modalities.media IS 'The top level of its media type: text, image, audio, video or application.';

COMMENT ON COLUMN public.known_modalities.inline IS 'Whether content_ref is the content itself, not the path or URI of it.';

COMMENT ON COLUMN public.known_modalities.description IS 'What it is.';

CREATE TABLE public.multimodal_items (
    id bigint NOT NULL,
    source_id bigint NOT NULL,
    part integer DEFAULT 0 NOT NULL,
    modality text NOT NULL,
    content_ref text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    space_id integer NOT NULL,
    content_sha256 bytea NOT NULL,
    embedding public.halfvec(8) NOT NULL,
    embedded_at timestamp with time zone DEFAULT now() NOT NULL
)
PARTITION BY LIST (modality);

COMMENT ON TABLE public.multimodal_items IS 'Unit vectors of all modalities in one shared space, with pointers.';

COMMENT ON COLUMN public.multimodal_items.id IS 'Number of the item.';

COMMENT ON COLUMN public.multimodal_items.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.multimodal_items.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.multimodal_items.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.multimodal_items.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.multimodal_items.metadata IS 'The source item''s metadata, and under _pipeline what the intake found.';

COMMENT ON COLUMN public.multimodal_items.space_id IS 'The space the vector belongs to.';

COMMENT ON COLUMN public.multimodal_items.content_sha256 IS 'SHA-256 of what was embedded.';

COMMENT ON COLUMN public.multimodal_items.embedding IS 'Unit vector; compare with <=> (cosine distance).';

COMMENT ON COLUMN public.multimodal_items.embedded_at IS 'When the vector was written.';

CREATE VIEW public.item_catalog WITH (security_invoker='true') AS
 SELECT i.id,
    i.source_id,
    s.source,
    s.source_key,
    i.part,
    i.modality,
    COALESCE((i.metadata ->> 'title'::text), (i.metadata ->> 'caption'::text), "left"(i.content_ref, 80)) AS title,
        CASE
            WHEN k.inline THEN i.content_ref
            ELSE NULL::text
        END AS text,
        CASE
            WHEN ((k.media = 'image'::text) AND (i.content_ref ~ '^(https?://|data:image/)'::text)) THEN i.content_ref
            ELSE NULL::text
        END AS picture,
    i.content_ref,
    i.metadata,
    i.embedded_at
   FROM ((public.multimodal_items i
     LEFT JOIN public.source_items s ON ((s.id = i.source_id)))
     LEFT JOIN public.known_modalities k ON ((k.name = i.modality)));

COMMENT ON VIEW public.item_catalog IS 'The items without their vectors, for BI tools; runs with the reader''s rights.';

COMMENT ON COLUMN public.item_catalog.id IS 'Number of the item.';

COMMENT ON COLUMN public.item_catalog.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.item_catalog.source IS 'Where the source item comes from.';

COMMENT ON COLUMN public.item_catalog.source_key IS 'Its key there.';

COMMENT ON COLUMN public.item_catalog.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.item_catalog.modality IS 'Its modality, such as image.';

COMMENT ON COLUMN public.item_catalog.title IS 'Title or caption from the metadata, else the beginning of the reference.';

COMMENT ON COLUMN public.item_catalog.text IS 'The text; null for what is no text.';

COMMENT ON COLUMN public.item_catalog.picture IS 'An address that a BI tool can show as an image; null for other things and files on disk.';

COMMENT ON COLUMN public.item_catalog.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.item_catalog.metadata IS 'The item''s metadata.';

COMMENT ON COLUMN public.item_catalog.embedded_at IS 'When the vector was written.';

CREATE TABLE public.media_roots (
    path text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT media_roots_path_absolute CHECK ((path ~~ '/%'::text))
);

COMMENT ON TABLE public.media_roots IS 'Folders that file references may point into, besides PIPELINE_MEDIA_ROOTS.';

COMMENT ON COLUMN public.media_roots.path IS 'The folder, absolute.';

COMMENT ON COLUMN public.media_roots.added_at IS 'When pipeline add registered it.';

CREATE SEQUENCE public.multimodal_items_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.multimodal_items_id_seq OWNED BY public.multimodal_items.id;

CREATE TABLE public.multimodal_items_image_s1 (
    id bigint DEFAULT nextval('public.multimodal_items_id_seq'::regclass) CONSTRAINT multimodal_items_id_not_null NOT NULL,
    source_id bigint CONSTRAINT multimodal_items_source_id_not_null NOT NULL,
    part integer DEFAULT 0 CONSTRAINT multimodal_items_part_not_null NOT NULL,
    modality text CONSTRAINT multimodal_items_modality_not_null NOT NULL,
    content_ref text CONSTRAINT multimodal_items_content_ref_not_null NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb CONSTRAINT multimodal_items_metadata_not_null NOT NULL,
    space_id integer CONSTRAINT multimodal_items_space_id_not_null NOT NULL,
    content_sha256 bytea CONSTRAINT multimodal_items_content_sha256_not_null NOT NULL,
    embedding public.halfvec(8) CONSTRAINT multimodal_items_embedding_not_null NOT NULL,
    embedded_at timestamp with time zone DEFAULT now() CONSTRAINT multimodal_items_embedded_at_not_null NOT NULL,
    CONSTRAINT multimodal_items_image_s1_modality CHECK ((modality = 'image'::text)),
    CONSTRAINT multimodal_items_image_s1_space CHECK ((space_id = 1)),
    CONSTRAINT multimodal_items_image_s1_unit_vector CHECK ((abs((public.l2_norm(embedding) - (1)::double precision)) < (0.01)::double precision))
);
ALTER TABLE ONLY public.multimodal_items_image_s1 ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE public.multimodal_items_image_s1 IS 'Items of modality image in the space fake.';

COMMENT ON COLUMN public.multimodal_items_image_s1.id IS 'Number of the item.';

COMMENT ON COLUMN public.multimodal_items_image_s1.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.multimodal_items_image_s1.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.multimodal_items_image_s1.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.multimodal_items_image_s1.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.multimodal_items_image_s1.metadata IS 'The source item''s metadata, and under _pipeline what the intake found.';

COMMENT ON COLUMN public.multimodal_items_image_s1.space_id IS 'The space the vector belongs to.';

COMMENT ON COLUMN public.multimodal_items_image_s1.content_sha256 IS 'SHA-256 of what was embedded.';

COMMENT ON COLUMN public.multimodal_items_image_s1.embedding IS 'Unit vector; compare with <=> (cosine distance).';

COMMENT ON COLUMN public.multimodal_items_image_s1.embedded_at IS 'When the vector was written.';

CREATE TABLE public.multimodal_items_image_s2 (
    id bigint DEFAULT nextval('public.multimodal_items_id_seq'::regclass) CONSTRAINT multimodal_items_id_not_null NOT NULL,
    source_id bigint CONSTRAINT multimodal_items_source_id_not_null NOT NULL,
    part integer DEFAULT 0 CONSTRAINT multimodal_items_part_not_null NOT NULL,
    modality text CONSTRAINT multimodal_items_modality_not_null NOT NULL,
    content_ref text CONSTRAINT multimodal_items_content_ref_not_null NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb CONSTRAINT multimodal_items_metadata_not_null NOT NULL,
    space_id integer CONSTRAINT multimodal_items_space_id_not_null NOT NULL,
    content_sha256 bytea CONSTRAINT multimodal_items_content_sha256_not_null NOT NULL,
    embedding public.halfvec(12) CONSTRAINT multimodal_items_embedding_not_null NOT NULL,
    embedded_at timestamp with time zone DEFAULT now() CONSTRAINT multimodal_items_embedded_at_not_null NOT NULL,
    CONSTRAINT multimodal_items_image_s2_modality CHECK ((modality = 'image'::text)),
    CONSTRAINT multimodal_items_image_s2_space CHECK ((space_id = 2)),
    CONSTRAINT multimodal_items_image_s2_unit_vector CHECK ((abs((public.l2_norm(embedding) - (1)::double precision)) < (0.01)::double precision))
);
ALTER TABLE ONLY public.multimodal_items_image_s2 ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE public.multimodal_items_image_s2 IS 'Items of modality image in the space second.';

COMMENT ON COLUMN public.multimodal_items_image_s2.id IS 'Number of the item.';

COMMENT ON COLUMN public.multimodal_items_image_s2.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.multimodal_items_image_s2.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.multimodal_items_image_s2.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.multimodal_items_image_s2.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.multimodal_items_image_s2.metadata IS 'The source item''s metadata, and under _pipeline what the intake found.';

COMMENT ON COLUMN public.multimodal_items_image_s2.space_id IS 'The space the vector belongs to.';

COMMENT ON COLUMN public.multimodal_items_image_s2.content_sha256 IS 'SHA-256 of what was embedded.';

COMMENT ON COLUMN public.multimodal_items_image_s2.embedding IS 'Unit vector; compare with <=> (cosine distance).';

COMMENT ON COLUMN public.multimodal_items_image_s2.embedded_at IS 'When the vector was written.';

CREATE TABLE public.multimodal_items_text_s1 (
    id bigint DEFAULT nextval('public.multimodal_items_id_seq'::regclass) CONSTRAINT multimodal_items_id_not_null NOT NULL,
    source_id bigint CONSTRAINT multimodal_items_source_id_not_null NOT NULL,
    part integer DEFAULT 0 CONSTRAINT multimodal_items_part_not_null NOT NULL,
    modality text CONSTRAINT multimodal_items_modality_not_null NOT NULL,
    content_ref text CONSTRAINT multimodal_items_content_ref_not_null NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb CONSTRAINT multimodal_items_metadata_not_null NOT NULL,
    space_id integer CONSTRAINT multimodal_items_space_id_not_null NOT NULL,
    content_sha256 bytea CONSTRAINT multimodal_items_content_sha256_not_null NOT NULL,
    embedding public.halfvec(8) CONSTRAINT multimodal_items_embedding_not_null NOT NULL,
    embedded_at timestamp with time zone DEFAULT now() CONSTRAINT multimodal_items_embedded_at_not_null NOT NULL,
    CONSTRAINT multimodal_items_text_s1_modality CHECK ((modality = 'text'::text)),
    CONSTRAINT multimodal_items_text_s1_space CHECK ((space_id = 1)),
    CONSTRAINT multimodal_items_text_s1_unit_vector CHECK ((abs((public.l2_norm(embedding) - (1)::double precision)) < (0.01)::double precision))
);
ALTER TABLE ONLY public.multimodal_items_text_s1 ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE public.multimodal_items_text_s1 IS 'Items of modality text in the space fake.';

COMMENT ON COLUMN public.multimodal_items_text_s1.id IS 'Number of the item.';

COMMENT ON COLUMN public.multimodal_items_text_s1.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.multimodal_items_text_s1.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.multimodal_items_text_s1.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.multimodal_items_text_s1.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.multimodal_items_text_s1.metadata IS 'The source item''s metadata, and under _pipeline what the intake found.';

COMMENT ON COLUMN public.multimodal_items_text_s1.space_id IS 'The space the vector belongs to.';

COMMENT ON COLUMN public.multimodal_items_text_s1.content_sha256 IS 'SHA-256 of what was embedded.';

COMMENT ON COLUMN public.multimodal_items_text_s1.embedding IS 'Unit vector; compare with <=> (cosine distance).';

COMMENT ON COLUMN public.multimodal_items_text_s1.embedded_at IS 'When the vector was written.';

CREATE TABLE public.multimodal_items_text_s2 (
    id bigint DEFAULT nextval('public.multimodal_items_id_seq'::regclass) CONSTRAINT multimodal_items_id_not_null NOT NULL,
    source_id bigint CONSTRAINT multimodal_items_source_id_not_null NOT NULL,
    part integer DEFAULT 0 CONSTRAINT multimodal_items_part_not_null NOT NULL,
    modality text CONSTRAINT multimodal_items_modality_not_null NOT NULL,
    content_ref text CONSTRAINT multimodal_items_content_ref_not_null NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb CONSTRAINT multimodal_items_metadata_not_null NOT NULL,
    space_id integer CONSTRAINT multimodal_items_space_id_not_null NOT NULL,
    content_sha256 bytea CONSTRAINT multimodal_items_content_sha256_not_null NOT NULL,
    embedding public.halfvec(12) CONSTRAINT multimodal_items_embedding_not_null NOT NULL,
    embedded_at timestamp with time zone DEFAULT now() CONSTRAINT multimodal_items_embedded_at_not_null NOT NULL,
    CONSTRAINT multimodal_items_text_s2_modality CHECK ((modality = 'text'::text)),
    CONSTRAINT multimodal_items_text_s2_space CHECK ((space_id = 2)),
    CONSTRAINT multimodal_items_text_s2_unit_vector CHECK ((abs((public.l2_norm(embedding) - (1)::double precision)) < (0.01)::double precision))
);
ALTER TABLE ONLY public.multimodal_items_text_s2 ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE public.multimodal_items_text_s2 IS 'Items of modality text in the space second.';

COMMENT ON COLUMN public.multimodal_items_text_s2.id IS 'Number of the item.';

COMMENT ON COLUMN public.multimodal_items_text_s2.source_id IS 'The source item it came from.';

COMMENT ON COLUMN public.multimodal_items_text_s2.part IS 'Which part of the source item, from 0: a window of a text, say.';

COMMENT ON COLUMN public.multimodal_items_text_s2.modality IS 'One of known_modalities, such as image.';

COMMENT ON COLUMN public.multimodal_items_text_s2.content_ref IS 'The text itself, or the path or URI of the content.';

COMMENT ON COLUMN public.multimodal_items_text_s2.metadata IS 'The source item''s metadata, and under _pipeline what the intake found.';

COMMENT ON COLUMN public.multimodal_items_text_s2.space_id IS 'The space the vector belongs to.';

COMMENT ON COLUMN public.multimodal_items_text_s2.content_sha256 IS 'SHA-256 of what was embedded.';

COMMENT ON COLUMN public.multimodal_items_text_s2.embedding IS 'Unit vector; compare with <=> (cosine distance).';

COMMENT ON COLUMN public.multimodal_items_text_s2.embedded_at IS 'When the vector was written.';

CREATE TABLE public.query_embeddings (
    space_id integer NOT NULL,
    query_sha256 bytea NOT NULL,
    query text NOT NULL,
    embedding public.halfvec,
    error text,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    embedded_at timestamp with time zone,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL,
    claimed_until timestamp with time zone
);

COMMENT ON TABLE public.query_embeddings IS 'Query texts and their vectors, per space; filled on demand, bounded.';

COMMENT ON COLUMN public.query_embeddings.space_id IS 'The space.';

COMMENT ON COLUMN public.query_embeddings.query_sha256 IS 'The key: query_key(query).';

COMMENT ON COLUMN public.query_embeddings.query IS 'The query''s text, as it was asked.';

COMMENT ON COLUMN public.query_embeddings.embedding IS 'Its unit vector; null while somebody waits for it.';

COMMENT ON COLUMN public.query_embeddings.error IS 'Why it could not be embedded.';

COMMENT ON COLUMN public.query_embeddings.requested_at IS 'When it was first asked for.';

COMMENT ON COLUMN public.query_embeddings.embedded_at IS 'When the vector was written.';

COMMENT ON COLUMN public.query_embeddings.last_used_at IS 'When it was last asked for; the least recent goes.';

COMMENT ON COLUMN public.query_embeddings.claimed_until IS 'Until when a server works on it; then another one may.';

ALTER TABLE public.source_items ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.source_items_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.space_evaluations (
    id bigint NOT NULL,
    space_id integer NOT NULL,
    measured_at timestamp with time zone DEFAULT now() NOT NULL,
    metric text NOT NULL,
    query_modality text NOT NULL,
    item_modality text NOT NULL,
    condition text NOT NULL,
    ef_search integer,
    queries integer NOT NULL,
    value double precision NOT NULL,
    milliseconds double precision
);

COMMENT ON TABLE public.space_evaluations IS 'Measured quality of spaces over time: one row per metric and modality pair.';

COMMENT ON COLUMN public.space_evaluations.id IS 'Number of the measurement.';

COMMENT ON COLUMN public.space_evaluations.space_id IS 'The space.';

COMMENT ON COLUMN public.space_evaluations.measured_at IS 'When; equal for the rows of one measurement.';

COMMENT ON COLUMN public.space_evaluations.metric IS 'recall@k of the index, or R@k, median_rank, ndcg@k of retrieval.';

COMMENT ON COLUMN public.space_evaluations.query_modality IS 'What was searched with: a modality, or any.';

COMMENT ON COLUMN public.space_evaluations.item_modality IS 'What was searched for: a modality, or any.';

COMMENT ON COLUMN public.space_evaluations.condition IS 'Which filter or which pairs: none, 1 %, pairs by KEY.';

COMMENT ON COLUMN public.space_evaluations.ef_search IS 'The ef_search; null: exact search.';

COMMENT ON COLUMN public.space_evaluations.queries IS 'How many queries were asked.';

COMMENT ON COLUMN public.space_evaluations.value IS 'The mean over the queries.';

COMMENT ON COLUMN public.space_evaluations.milliseconds IS 'Median time of a query.';

ALTER TABLE public.space_evaluations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.space_evaluations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.space_modalities (
    space_id integer NOT NULL,
    modality text NOT NULL,
    item_count bigint DEFAULT 0 NOT NULL,
    mean public.halfvec,
    recall real,
    ef_search integer,
    measured_at timestamp with time zone
);

COMMENT ON TABLE public.space_modalities IS 'The modalities a space embeds, with statistics for ranking and tuning.';

COMMENT ON COLUMN public.space_modalities.space_id IS 'The space.';

COMMENT ON COLUMN public.space_modalities.modality IS 'One of known_modalities.';

COMMENT ON COLUMN public.space_modalities.item_count IS 'Items when the statistics were taken.';

COMMENT ON COLUMN public.space_modalities.mean IS 'Mean vector, for calibrated ranking across modalities.';

COMMENT ON COLUMN public.space_modalities.recall IS 'Last measured recall@10.';

COMMENT ON COLUMN public.space_modalities.ef_search IS 'Tuned ef_search for this modality.';

COMMENT ON COLUMN public.space_modalities.measured_at IS 'When they were taken.';

CREATE TABLE public.space_probes (
    space_id integer NOT NULL,
    probe smallint NOT NULL,
    modality text NOT NULL,
    content bytea NOT NULL,
    embedding real[] NOT NULL
);

COMMENT ON TABLE public.space_probes IS 'Stored inputs with their vectors; workers embed them again.';

COMMENT ON COLUMN public.space_probes.space_id IS 'The space.';

COMMENT ON COLUMN public.space_probes.probe IS 'Number of the probe.';

COMMENT ON COLUMN public.space_probes.modality IS 'One of the space''s.';

COMMENT ON COLUMN public.space_probes.content IS 'The text in UTF-8, or the bytes of the file.';

COMMENT ON COLUMN public.space_probes.embedding IS 'The vector, float32, when the space was created.';

CREATE VIEW public.space_status AS
 SELECT s.name AS space,
    s.state,
    s.model,
    s.dimensions,
    s.vector_type,
    s."precision",
    i.modality,
    i.items,
    i.table_bytes,
    i.index_bytes,
    i.index_is_valid,
    COALESCE(m.ef_search, s.ef_search) AS ef_search,
    m.recall,
    m.measured_at,
        CASE
            WHEN (s.state = 'active'::text) THEN public.is_served(s.id)
            ELSE NULL::boolean
        END AS is_served
   FROM ((public.embedding_spaces s
     JOIN public.space_items() i(space_id, modality, items, per_minute, table_bytes, index_bytes, index_is_valid) ON ((i.space_id = s.id)))
     JOIN public.space_modalities m ON (((m.space_id = s.id) AND (m.modality = i.modality))));

COMMENT ON VIEW public.space_status IS 'The embedding spaces with their tables and indexes.';

COMMENT ON COLUMN public.space_status.space IS 'The space''s name.';

COMMENT ON COLUMN public.space_status.state IS 'building, active or retired.';

COMMENT ON COLUMN public.space_status.model IS 'The model, such as ViT-B-32/openai.';

COMMENT ON COLUMN public.space_status.dimensions IS 'Dimensions of its vectors.';

COMMENT ON COLUMN public.space_status.vector_type IS 'halfvec or vector.';

COMMENT ON COLUMN public.space_status."precision" IS 'Precision of the model''s weights.';

COMMENT ON COLUMN public.space_status.modality IS 'One of the space''s.';

COMMENT ON COLUMN public.space_status.items IS 'Items there are.';

COMMENT ON COLUMN public.space_status.table_bytes IS 'Size of the table with its TOAST.';

COMMENT ON COLUMN public.space_status.index_bytes IS 'Size of the HNSW index; null: not built yet.';

COMMENT ON COLUMN public.space_status.index_is_valid IS 'Whether the HNSW index can be used.';

COMMENT ON COLUMN public.space_status.ef_search IS 'HNSW''s ef_search that searches use at least.';

COMMENT ON COLUMN public.space_status.recall IS 'Last measured recall@10 of the index.';

COMMENT ON COLUMN public.space_status.measured_at IS 'When the statistics were taken.';

COMMENT ON COLUMN public.space_status.is_served IS 'Whether `pipeline serve` embeds new query texts now; null: not the active space.';

CREATE TABLE public.space_tunings (
    space_id integer NOT NULL,
    query_modality text NOT NULL,
    item_modality text NOT NULL,
    ef_search integer NOT NULL,
    target_recall real NOT NULL,
    recall real NOT NULL,
    milliseconds real NOT NULL,
    tuned_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.space_tunings IS 'The least ef_search that reaches the wanted recall, per modality pair.';

COMMENT ON COLUMN public.space_tunings.space_id IS 'The space.';

COMMENT ON COLUMN public.space_tunings.query_modality IS 'What is searched with.';

COMMENT ON COLUMN public.space_tunings.item_modality IS 'What is searched for.';

COMMENT ON COLUMN public.space_tunings.ef_search IS 'HNSW''s ef_search to use.';

COMMENT ON COLUMN public.space_tunings.target_recall IS 'The recall@k that was wanted.';

COMMENT ON COLUMN public.space_tunings.recall IS 'The recall@k that was measured with it.';

COMMENT ON COLUMN public.space_tunings.milliseconds IS 'Median time of a query with it.';

COMMENT ON COLUMN public.space_tunings.tuned_at IS 'When.';

CREATE VIEW public.unsupported_source_items AS
 SELECT modality,
    count(*) AS source_items
   FROM public.source_items i
  WHERE (NOT (EXISTS ( SELECT
           FROM (public.space_modalities m
             JOIN public.embedding_spaces s ON ((s.id = m.space_id)))
          WHERE ((m.modality = i.modality) AND (s.state <> 'retired'::text)))))
  GROUP BY modality;

COMMENT ON VIEW public.unsupported_source_items IS 'How many source items no space in use can embed, per modality.';

COMMENT ON COLUMN public.unsupported_source_items.modality IS 'The modality that neither the active space has nor one that is building.';

COMMENT ON COLUMN public.unsupported_source_items.source_items IS 'How many there are.';

ALTER TABLE ONLY public.multimodal_items ATTACH PARTITION public.multimodal_items_image_s1 FOR VALUES IN ('image');

ALTER TABLE ONLY public.multimodal_items ATTACH PARTITION public.multimodal_items_text_s1 FOR VALUES IN ('text');

ALTER TABLE ONLY public.ingest_jobs ALTER COLUMN version SET DEFAULT nextval('public.ingest_job_versions'::regclass);

ALTER TABLE ONLY public.multimodal_items ALTER COLUMN id SET DEFAULT nextval('public.multimodal_items_id_seq'::regclass);

COPY public.alembic_version (version_num) FROM stdin;
pipeline_0006_installed_sql
\.

COPY public.embedding_spaces (id, name, state, model, dimensions, vector_type, "precision", context_length, weights_sha256, fingerprint, description, hnsw_m, hnsw_ef_construction, ef_search, created_at, activated_at, retired_at, probed_with) FROM stdin;
1	fake	active	fake	8	halfvec	float32	16	fake-8	8bfa3bc3ffbe8c751797adadea9648e1b483d24ae0e406f341a003e7f186a377	{"kind": "fake", "model": "fake", "precision": "float32", "dimensions": 8, "logit_scale": 100.0, "context_length": 16, "weights_sha256": "fake-8"}	16	64	100	2026-11-26 12:01:58.846689+00	2026-11-26 12:01:58.924153+00	\N	\N
2	second	building	fake:12	12	halfvec	float32	16	fake-12	872dacb1e95aec32cc382b6bca84f36a1b62b251e8fdf910cdc1b49443017afc	{"kind": "fake", "model": "fake:12", "precision": "float32", "dimensions": 12, "logit_scale": 100.0, "context_length": 16, "weights_sha256": "fake-12"}	16	64	100	2026-11-26 12:01:59.056289+00	\N	\N	\N
\.

COPY public.ingest_jobs (space_id, source_id, state, attempts, error_code, error, run_after, leased_until, worker, version) FROM stdin;
1	3	failed	1	empty_text	the text is empty or white space; expected at least one character	2026-11-26 12:02:00.834607+00	\N	\N	1
2	1	pending	0	\N	\N	2026-11-26 12:01:59.086568+00	\N	\N	4
2	2	pending	0	\N	\N	2026-11-26 12:01:59.086568+00	\N	\N	5
2	3	pending	0	\N	\N	2026-11-26 12:01:59.086568+00	\N	\N	6
1	4	pending	0	\N	\N	2026-11-26 12:01:59.092179+00	\N	\N	7
2	4	pending	0	\N	\N	2026-11-26 12:01:59.092179+00	\N	\N	8
\.

COPY public.installed_sql (sha256, version, roles, objects, grants, installed_at) FROM stdin;
b3efd405348a4893b5addc1b8c33b31d6847088bf49a64acfb5908ddf1b3e663	0.1.0	t	{"trigger source_items_deleted on @schema@.source_items","trigger source_items_inserted on @schema@.source_items","trigger source_items_touch on @schema@.source_items","trigger source_items_truncated on @schema@.source_items","trigger source_items_updated on @schema@.source_items","trigger space_modalities_grant on @schema@.space_modalities","view @schema@.ingest_failures","view @schema@.ingest_status","view @schema@.item_catalog","view @schema@.space_status","view @schema@.unsupported_source_items","procedure @schema@.configure_loopback(pg_catalog.text,pg_catalog.text,pg_catalog.text,integer)","procedure @schema@.embed_queries(pg_catalog.text[],interval)","procedure @schema@.embed_query(pg_catalog.text,interval)","function @schema@.ask_for_query_embeddings(pg_catalog.text[])","function @schema@.blend_embeddings(@schema@.halfvec[],real[])","function @schema@.cached_query_embeddings(pg_catalog.text[])","function @schema@.classify_items(pg_catalog.text[],pg_catalog.text,bigint[],pg_catalog.text,pg_catalog.jsonb)","function @schema@.delete_items(integer,bigint[])","function @schema@.enqueue_source_items(bigint[])","function @schema@.grant_items_table()","function @schema@.has_few_matches(pg_catalog.text,pg_catalog.jsonb,bigint)","function @schema@.hybrid_search(pg_catalog.text,pg_catalog.text[],integer,pg_catalog.jsonb,real,real,integer,pg_catalog.text)","function @schema@.is_served(integer)","function @schema@.item_document(pg_catalog.text,pg_catalog.text,pg_catalog.jsonb)","function @schema@.item_embedding(bigint)","function @schema@.items_table(integer,pg_catalog.text)","function @schema@.lock_jobs(bigint[])","function @schema@.loopback_connection()","function @schema@.modality_means(integer)","function @schema@.near_duplicates(real,pg_catalog.text,pg_catalog.jsonb,integer)","function @schema@.query_embeddings_missing(pg_catalog.text[])","function @schema@.query_key(pg_catalog.text)","function @schema@.refresh_space_statistics(pg_catalog.text)","function @schema@.refuse_modalities(pg_catalog.text[])","function @schema@.search_items(pg_catalog.text,@schema@.halfvec,bigint,pg_catalog.text[],integer,pg_catalog.jsonb,real,pg_catalog.text,pg_catalog.text)","function @schema@.source_items_deleted()","function @schema@.source_items_inserted()","function @schema@.source_items_touch()","function @schema@.source_items_truncated()","function @schema@.source_items_updated()","function @schema@.space_items()","function @schema@.text_embedding(pg_catalog.text,interval)","function @schema@.text_embeddings(pg_catalog.text[],interval)","function @schema@.text_embeddings_by_loopback(pg_catalog.text[],interval)","function @schema@.touch_query_embeddings(pg_catalog.text[])","function @schema@.withdraw_source_items(bigint[])"}	{"GRANT USAGE ON SCHEMA public TO pipeline_analyst, pipeline_ingest, pipeline_owner;","GRANT SELECT ON public.multimodal_items, public.source_items, public.known_modalities,\n    public.embedding_spaces, public.space_modalities, public.space_probes,\n    public.space_tunings, public.space_evaluations, public.installed_sql, public.ingest_status,\n    public.ingest_failures, public.unsupported_source_items, public.item_catalog,\n    public.space_status\n    TO pipeline_analyst, pipeline_ingest, pipeline_owner;","GRANT EXECUTE ON FUNCTION public.text_embedding(text, interval),\n    public.text_embeddings(text[], interval), public.ask_for_query_embeddings(text[]),\n    public.query_embeddings_missing(text[]), public.cached_query_embeddings(text[]),\n    public.space_items()\n    TO pipeline_analyst, pipeline_ingest, pipeline_owner;","GRANT INSERT, UPDATE, DELETE ON public.source_items, public.multimodal_items,\n    public.ingest_jobs, public.query_embeddings\n    TO pipeline_ingest, pipeline_owner;","GRANT SELECT ON public.ingest_jobs, public.query_embeddings\n    TO pipeline_ingest, pipeline_owner;","GRANT SELECT, INSERT ON public.media_roots TO pipeline_ingest, pipeline_owner;","GRANT DELETE ON public.media_roots TO pipeline_owner;","GRANT UPDATE (item_count, mean, recall, ef_search, measured_at) ON public.space_modalities\n    TO pipeline_ingest, pipeline_owner;","GRANT USAGE, SELECT ON SEQUENCE public.multimodal_items_id_seq, public.ingest_job_versions\n    TO pipeline_ingest, pipeline_owner;","GRANT EXECUTE ON FUNCTION public.enqueue_source_items(bigint[])\n    TO pipeline_ingest, pipeline_owner;","GRANT INSERT, UPDATE, DELETE ON public.embedding_spaces, public.space_modalities,\n    public.space_probes, public.space_tunings, public.space_evaluations\n    TO pipeline_owner;","-- The tables of spaces that are older than the roles; those of later ones: items_grants.sql.\nDO $$\nDECLARE\n    items regclass;\nBEGIN\n    FOR items IN\n        SELECT public.items_table(m.space_id, m.modality) FROM public.space_modalities AS m\n    LOOP\n        IF items IS NOT NULL THEN\n            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s '\n                           'TO pipeline_ingest, pipeline_owner', items);\n        END IF;\n    END LOOP;\nEND $$;"}	2026-11-26 12:01:58.465884+00
\.

COPY public.known_modalities (name, media, inline, description) FROM stdin;
text	text	t	Words; a long text has several parts.
image	image	f	A photograph, a drawing, a scan.
audio	audio	f	A recording of sound.
video	video	f	A film; its segments are its parts.
document	application	f	A file of pages, such as a PDF.
depth	image	f	An image whose values are distances.
thermal	image	f	An image whose values are temperatures.
imu	application	f	Acceleration and rotation over time.
\.

COPY public.media_roots (path, added_at) FROM stdin;
\.

COPY public.multimodal_items_image_s1 (id, source_id, part, modality, content_ref, metadata, space_id, content_sha256, embedding, embedded_at) FROM stdin;
\.

COPY public.multimodal_items_image_s2 (id, source_id, part, modality, content_ref, metadata, space_id, content_sha256, embedding, embedded_at) FROM stdin;
\.

COPY public.multimodal_items_text_s1 (id, source_id, part, modality, content_ref, metadata, space_id, content_sha256, embedding, embedded_at) FROM stdin;
1	1	0	text	a red bicycle	{}	1	\\x1191409152a26c2e3a7b6e7e0fc0f0dbc04a0c2aef096f8e20239abd84a7c3c6	[-0.20837402,0.56640625,0.51464844,0.39746094,0.10534668,0.18249512,0.3996582,-0.09442139]	2026-11-26 12:01:59.034565+00
2	2	0	text	a boat at night	{}	1	\\x063723c2cd39f36ac5b50044337522ea0cfa37b89b4d2528f9bcd64979798726	[0.1274414,0.73095703,-0.17810059,0.037017822,-0.14086914,-0.4152832,0.32666016,0.34301758]	2026-11-26 12:01:59.034565+00
\.

COPY public.multimodal_items_text_s2 (id, source_id, part, modality, content_ref, metadata, space_id, content_sha256, embedding, embedded_at) FROM stdin;
\.

COPY public.query_embeddings (space_id, query_sha256, query, embedding, error, requested_at, embedded_at, last_used_at, claimed_until) FROM stdin;
1	\\xc66790da5943c4466dd80634deb63f4e19f07e7f81624f222b86fecf9fff6445	asked	[-0.63671875,-0.041748047,0.10064697,-0.012313843,0.15576172,-0.030975342,-0.7050781,-0.24450684]	\N	2026-11-26 12:01:59.093892+00	2026-11-26 12:01:59.093892+00	2026-11-26 12:01:59.093892+00	\N
\.

COPY public.source_items (id, source, source_key, modality, content_ref, metadata, created_at, updated_at) FROM stdin;
1	test	1	text	a red bicycle	{}	2026-11-26 12:01:58.939317+00	2026-11-26 12:01:58.939317+00
2	test	2	text	a boat at night	{}	2026-11-26 12:01:58.939317+00	2026-11-26 12:01:58.939317+00
3	test	3	text	  	{}	2026-11-26 12:01:58.939317+00	2026-11-26 12:01:58.939317+00
4	later	1	text	waits	{}	2026-11-26 12:01:59.092179+00	2026-11-26 12:01:59.092179+00
\.

COPY public.space_evaluations (id, space_id, measured_at, metric, query_modality, item_modality, condition, ef_search, queries, value, milliseconds) FROM stdin;
\.

COPY public.space_modalities (space_id, modality, item_count, mean, recall, ef_search, measured_at) FROM stdin;
1	text	0	\N	\N	\N	\N
1	image	0	\N	\N	\N	\N
2	text	0	\N	\N	\N	\N
2	image	0	\N	\N	\N	\N
\.

COPY public.space_probes (space_id, probe, modality, content, embedding) FROM stdin;
\.

COPY public.space_tunings (space_id, query_modality, item_modality, ef_search, target_recall, recall, milliseconds, tuned_at) FROM stdin;
\.

SELECT pg_catalog.setval('public.embedding_spaces_id_seq', 2, true);

SELECT pg_catalog.setval('public.ingest_job_versions', 64, true);

SELECT pg_catalog.setval('public.multimodal_items_id_seq', 2, true);

SELECT pg_catalog.setval('public.source_items_id_seq', 4, true);

SELECT pg_catalog.setval('public.space_evaluations_id_seq', 1, false);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.embedding_spaces
    ADD CONSTRAINT embedding_spaces_name_unique UNIQUE (name);

ALTER TABLE ONLY public.embedding_spaces
    ADD CONSTRAINT embedding_spaces_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ingest_jobs
    ADD CONSTRAINT ingest_jobs_pkey PRIMARY KEY (space_id, source_id);

ALTER TABLE ONLY public.installed_sql
    ADD CONSTRAINT installed_sql_pkey PRIMARY KEY (sha256);

ALTER TABLE ONLY public.known_modalities
    ADD CONSTRAINT known_modalities_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.media_roots
    ADD CONSTRAINT media_roots_pkey PRIMARY KEY (path);

ALTER TABLE ONLY public.multimodal_items
    ADD CONSTRAINT multimodal_items_pkey PRIMARY KEY (id, modality);

ALTER TABLE ONLY public.multimodal_items_image_s1
    ADD CONSTRAINT multimodal_items_image_s1_pkey PRIMARY KEY (id, modality);

ALTER TABLE ONLY public.multimodal_items
    ADD CONSTRAINT multimodal_items_source_part_unique UNIQUE (source_id, part, modality);

ALTER TABLE ONLY public.multimodal_items_image_s1
    ADD CONSTRAINT multimodal_items_image_s1_source_part_unique UNIQUE (source_id, part, modality);

ALTER TABLE ONLY public.multimodal_items_image_s2
    ADD CONSTRAINT multimodal_items_image_s2_pkey PRIMARY KEY (id, modality);

ALTER TABLE ONLY public.multimodal_items_image_s2
    ADD CONSTRAINT multimodal_items_image_s2_source_part_unique UNIQUE (source_id, part, modality);

ALTER TABLE ONLY public.multimodal_items_text_s1
    ADD CONSTRAINT multimodal_items_text_s1_pkey PRIMARY KEY (id, modality);

ALTER TABLE ONLY public.multimodal_items_text_s1
    ADD CONSTRAINT multimodal_items_text_s1_source_part_unique UNIQUE (source_id, part, modality);

ALTER TABLE ONLY public.multimodal_items_text_s2
    ADD CONSTRAINT multimodal_items_text_s2_pkey PRIMARY KEY (id, modality);

ALTER TABLE ONLY public.multimodal_items_text_s2
    ADD CONSTRAINT multimodal_items_text_s2_source_part_unique UNIQUE (source_id, part, modality);

ALTER TABLE ONLY public.query_embeddings
    ADD CONSTRAINT query_embeddings_pkey PRIMARY KEY (space_id, query_sha256);

ALTER TABLE ONLY public.source_items
    ADD CONSTRAINT source_items_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.source_items
    ADD CONSTRAINT source_items_source_key_unique UNIQUE (source, source_key);

ALTER TABLE ONLY public.space_evaluations
    ADD CONSTRAINT space_evaluations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.space_modalities
    ADD CONSTRAINT space_modalities_pkey PRIMARY KEY (space_id, modality);

ALTER TABLE ONLY public.space_probes
    ADD CONSTRAINT space_probes_pkey PRIMARY KEY (space_id, probe);

ALTER TABLE ONLY public.space_tunings
    ADD CONSTRAINT space_tunings_pkey PRIMARY KEY (space_id, query_modality, item_modality);

CREATE UNIQUE INDEX embedding_spaces_one_active ON public.embedding_spaces USING btree (state) WHERE (state = 'active'::text);

CREATE UNIQUE INDEX embedding_spaces_one_building ON public.embedding_spaces USING btree (state) WHERE (state = 'building'::text);

CREATE INDEX ingest_jobs_pending ON public.ingest_jobs USING btree (space_id, run_after, source_id) WHERE (state = 'pending'::text);

CREATE INDEX ingest_jobs_running ON public.ingest_jobs USING btree (space_id, source_id) WHERE (state = 'running'::text);

CREATE INDEX multimodal_items_content ON ONLY public.multimodal_items USING hash (content_sha256);

CREATE INDEX multimodal_items_embedding ON ONLY public.multimodal_items USING hnsw (embedding public.halfvec_cosine_ops) WITH (m='16', ef_construction='64');

CREATE INDEX multimodal_items_image_s1_content ON public.multimodal_items_image_s1 USING hash (content_sha256);

CREATE INDEX multimodal_items_image_s1_embedding ON public.multimodal_items_image_s1 USING hnsw (embedding public.halfvec_cosine_ops) WITH (m='16', ef_construction='64');

CREATE INDEX multimodal_items_metadata ON ONLY public.multimodal_items USING gin (metadata jsonb_path_ops);

CREATE INDEX multimodal_items_image_s1_metadata ON public.multimodal_items_image_s1 USING gin (metadata jsonb_path_ops);

CREATE INDEX multimodal_items_image_s2_content ON public.multimodal_items_image_s2 USING hash (content_sha256);

CREATE INDEX multimodal_items_image_s2_metadata ON public.multimodal_items_image_s2 USING gin (metadata jsonb_path_ops);

CREATE INDEX multimodal_items_text_s1_content ON public.multimodal_items_text_s1 USING hash (content_sha256);

CREATE INDEX multimodal_items_text_s1_embedding ON public.multimodal_items_text_s1 USING hnsw (embedding public.halfvec_cosine_ops) WITH (m='16', ef_construction='64');

CREATE INDEX multimodal_items_text_s1_metadata ON public.multimodal_items_text_s1 USING gin (metadata jsonb_path_ops);

CREATE INDEX multimodal_items_text_s2_content ON public.multimodal_items_text_s2 USING hash (content_sha256);

CREATE INDEX multimodal_items_text_s2_metadata ON public.multimodal_items_text_s2 USING gin (metadata jsonb_path_ops);

CREATE INDEX query_embeddings_last_used ON public.query_embeddings USING btree (space_id, last_used_at);

CREATE INDEX query_embeddings_requested ON public.query_embeddings USING btree (space_id, requested_at) WHERE (embedding IS NULL);

CREATE INDEX source_items_document ON public.source_items USING gin (public.item_document(modality, content_ref, metadata));

COMMENT ON INDEX public.source_items_document IS 'Full text of the source items, made by a function of MD5 6adf5a9fe7c926fdd27136782b81fa8e.';

CREATE INDEX space_evaluations_latest ON public.space_evaluations USING btree (space_id, measured_at);

ALTER INDEX public.multimodal_items_content ATTACH PARTITION public.multimodal_items_image_s1_content;

ALTER INDEX public.multimodal_items_embedding ATTACH PARTITION public.multimodal_items_image_s1_embedding;

ALTER INDEX public.multimodal_items_metadata ATTACH PARTITION public.multimodal_items_image_s1_metadata;

ALTER INDEX public.multimodal_items_pkey ATTACH PARTITION public.multimodal_items_image_s1_pkey;

ALTER INDEX public.multimodal_items_source_part_unique ATTACH PARTITION public.multimodal_items_image_s1_source_part_unique;

ALTER INDEX public.multimodal_items_content ATTACH PARTITION public.multimodal_items_text_s1_content;

ALTER INDEX public.multimodal_items_embedding ATTACH PARTITION public.multimodal_items_text_s1_embedding;

ALTER INDEX public.multimodal_items_metadata ATTACH PARTITION public.multimodal_items_text_s1_metadata;

ALTER INDEX public.multimodal_items_pkey ATTACH PARTITION public.multimodal_items_text_s1_pkey;

ALTER INDEX public.multimodal_items_source_part_unique ATTACH PARTITION public.multimodal_items_text_s1_source_part_unique;

CREATE TRIGGER source_items_deleted AFTER DELETE ON public.source_items REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_deleted();

CREATE TRIGGER source_items_inserted AFTER INSERT ON public.source_items REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_inserted();

CREATE TRIGGER source_items_touch BEFORE UPDATE ON public.source_items FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.source_items_touch();

CREATE TRIGGER source_items_truncated AFTER TRUNCATE ON public.source_items FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_truncated();

CREATE TRIGGER source_items_updated AFTER UPDATE ON public.source_items REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_updated();

CREATE TRIGGER space_modalities_grant AFTER INSERT ON public.space_modalities FOR EACH ROW EXECUTE FUNCTION public.grant_items_table();

ALTER TABLE ONLY public.query_embeddings
    ADD CONSTRAINT query_embeddings_space_id_fkey FOREIGN KEY (space_id) REFERENCES public.embedding_spaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.space_evaluations
    ADD CONSTRAINT space_evaluations_space_id_fkey FOREIGN KEY (space_id) REFERENCES public.embedding_spaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.space_modalities
    ADD CONSTRAINT space_modalities_modality_fkey FOREIGN KEY (modality) REFERENCES public.known_modalities(name);

ALTER TABLE ONLY public.space_modalities
    ADD CONSTRAINT space_modalities_space_id_fkey FOREIGN KEY (space_id) REFERENCES public.embedding_spaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.space_probes
    ADD CONSTRAINT space_probes_space_id_fkey FOREIGN KEY (space_id) REFERENCES public.embedding_spaces(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.space_tunings
    ADD CONSTRAINT space_tunings_space_id_fkey FOREIGN KEY (space_id) REFERENCES public.embedding_spaces(id) ON DELETE CASCADE;
