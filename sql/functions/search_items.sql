-- The search. Three steps: the query's vector; per modality the candidates, by the HNSW index or,
-- where a filter leaves few rows, by an exact scan of those; then one ranking over all of them.
--
-- The candidates' statement is put together as text: with the modality as a literal the planner
-- sees one partition, and with the limit as a number it sees that the index pays.
--
-- A compact index is over leading coordinates: of what it gives, more than is wanted, the whole
-- vectors are compared.
--
-- Everything is ordered by distance, then id: the index gives the distance, and an incremental sort
-- reads on while it stays the same; where many are equal, they are compared without the index. So
-- equal items come in one order, and a smaller k gives the first of a larger.

CREATE OR REPLACE FUNCTION @schema@.few_matches(k integer, items bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- The cost of an exact search grows with the matches m, that of the index with k * items / m, and
-- they meet where m * m is some 3 * k * items.
RETURN greatest(5000, least(50000, sqrt(3.0 * k * coalesce(items, 0))))::bigint;
COMMENT ON FUNCTION @schema@.few_matches(integer, bigint) IS
    'So many matches of a filter are sooner compared than looked for by the index.';

CREATE OR REPLACE FUNCTION @schema@.has_few_matches(
    modality text, filter jsonb, sources text[], few bigint)
RETURNS boolean
-- Volatile only because EXPLAIN is not allowed otherwise. Runs with the caller's rights, so that
-- row-level security counts.
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on
AS $$
DECLARE
    matches text := format(
        'FROM @schema@.multimodal_items AS i%s WHERE i.modality = %L AND i.metadata @> %L',
        CASE WHEN sources IS NOT NULL THEN format(
            ' JOIN @schema@.source_items AS s ON s.id = i.source_id AND s.source = ANY (%L)',
            sources) END, modality, filter);
    plan    jsonb;
    answer  boolean;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) SELECT ' || matches INTO plan;
    -- Only a rough idea (often 1 % of the table, whatever the filter), so it decides alone only
    -- where it is far off; else the matches are counted, through the indexes, up to the limit.
    IF (plan #>> '{0,Plan,Plan Rows}')::float8 > 20.0 * few THEN
        RETURN false;
    END IF;
    PERFORM set_config('enable_seqscan', 'off', true);
    EXECUTE format('SELECT count(*) <= %s FROM (SELECT %s LIMIT %1$s + 1) AS m', few, matches)
        INTO answer;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.has_few_matches(text, jsonb, text[], bigint) IS
    'Whether at most so many items of the modality, of these sources or of all, match the filter.';

CREATE OR REPLACE FUNCTION @schema@.modality_means(
    space integer, OUT modalities text[], OUT means @vector@.vector[], OUT sampled boolean)
-- The mean vector of every modality that has items; where no statistics were taken yet, the mean
-- of a thousand items.
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known record;
    mean  @vector@.vector;
BEGIN
    sampled := false;
    FOR known IN
        SELECT m.modality, m.mean::@vector@.vector AS mean, m.item_count
        FROM @schema@.space_modalities AS m WHERE m.space_id = space ORDER BY m.modality
    LOOP
        mean := known.mean;
        IF mean IS NULL THEN
            EXECUTE format('SELECT @vector@.avg(e::@vector@.vector) FROM ('
                           'SELECT embedding FROM @schema@.multimodal_items '
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
COMMENT ON FUNCTION @schema@.modality_means(integer) IS
    'The mean vectors that calibrated ranking subtracts, per modality that has items.';

CREATE OR REPLACE FUNCTION @schema@.nearest_items(
    query text, embedding @vector@.halfvec, like_item bigint, modality text[], k integer,
    filter jsonb, min_similarity real, ranking text, query_modality text, sources text[],
    chosen bigint[], condition text)
RETURNS SETOF @schema@.item_match
-- chosen: of these source items alone, which are few; condition: over the source item s, where they
-- are many. At most one of the two is given, and then sources are.
-- Volatile, so that each statement below sees what is committed by then: see the first of them.
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
-- Set anew below, and set back when the function ends.
SET hnsw.ef_search = 100
SET hnsw.iterative_scan = relaxed_order
SET hnsw.max_scan_tuples = 100000
SET enable_seqscan = on
SET enable_incremental_sort = on
SET enable_sort = on
SET enable_hashjoin = on
SET enable_mergejoin = on
SET jit = off
AS $$
DECLARE
    active     record;
    asked      record;
    probe      @vector@.halfvec;  -- the query's vector
    of_query   text;      -- its modality
    itself     bigint;    -- the source item of like_item, which is not among its own neighbours
    modalities text[];
    means      @vector@.vector[];
    centred    @vector@.vector;   -- the query less the mean of its modality
    filtered   boolean := filter <> '{}' OR sources IS NOT NULL;
    exact      boolean[]; -- per modality: every match is compared, no index
    candidates integer;
    reranked   integer;   -- of a compact index, so many candidates are ranked by whole vectors
    piece      text;
    pieces     text := '';
    statement  text;
    result     @schema@.item_match[];
    more       boolean;
    ended      boolean;   -- the index, before it came to items that are too far
    tied       boolean;   -- many items, of which the result may hold but some
    comparand  text;
    nearness   text;
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
    IF min_similarity NOT BETWEEN -1 AND 1 THEN
        RAISE EXCEPTION 'min_similarity is %, and must be between -1 and 1', min_similarity
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is %, and must be a JSON object', quote_nullable(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'filter => ''{"colour": "red"}''';
    END IF;

    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM @schema@.multimodal_items LIMIT 0;
    PERFORM @schema@.check_snapshot();
    SELECT s.id, s.dimensions, s.vector_type, s.ef_search, s.compact_dimensions AS coordinates
    INTO active
    FROM @schema@.embedding_spaces AS s WHERE s.state = 'active';
    IF active IS NULL THEN
        RAISE EXCEPTION 'no embedding space is active' USING
            ERRCODE = 'MM001',
            HINT = 'Run `pipeline migrate` to create one, or `pipeline space activate NAME`.';
    END IF;
    SELECT array_agg(m.modality ORDER BY m.modality) AS known,
           array_agg(m.modality ORDER BY m.modality) FILTER (
               WHERE nearest_items.modality IS NULL OR m.modality = ANY (nearest_items.modality)
           ) AS chosen,
           max(m.item_count) AS items
    INTO asked
    FROM @schema@.space_modalities AS m WHERE m.space_id = active.id;
    modalities := asked.chosen;
    -- What it derives may have no item yet; embedded_modalities is not for whoever was granted the
    -- tables of an older release.
    IF NOT coalesce(modality <@ (asked.known || ARRAY(
        SELECT k.name FROM @schema@.known_modalities AS k WHERE k.derived_from = ANY (asked.known)))
        AND cardinality(modality) > 0, true)
    THEN
        RAISE EXCEPTION 'there is no modality %', modality USING
            ERRCODE = 'invalid_parameter_value',
            HINT = format('Use modality => %L, or leave it out for all.', asked.known);
    END IF;
    IF query_modality NOT IN (SELECT name FROM @schema@.known_modalities) THEN
        RAISE EXCEPTION 'there is no query_modality %', quote_literal(query_modality) USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'See known_modalities; leave it out where it is not known.';
    END IF;

    IF modalities IS NULL THEN
        RETURN;  -- the space embeds them, and has no item of them yet
    END IF;

    -- The query's vector.
    IF query IS NOT NULL THEN
        probe := @schema@.text_embedding(query, interval '10 s');
        of_query := 'text';
    ELSIF like_item IS NOT NULL THEN
        SELECT i.embedding, i.modality, i.source_id INTO probe, of_query, itself
        FROM @schema@.multimodal_items AS i WHERE i.id = like_item;
        IF probe IS NULL THEN
            RAISE EXCEPTION 'there is no item %', like_item USING
                ERRCODE = 'no_data_found',
                HINT = 'Items have their numbers in multimodal_items.id.';
        END IF;
    ELSE
        IF @vector@.vector_dims(embedding) <> active.dimensions THEN
            RAISE EXCEPTION 'the embedding has % dimensions, the active space %',
                @vector@.vector_dims(embedding), active.dimensions
                USING ERRCODE = 'data_exception',
                HINT = 'Only vectors of the active space''s model can be compared.';
        END IF;
        IF @vector@.l2_norm(embedding) = 0 THEN
            RAISE EXCEPTION 'the embedding is zero, and has no direction to compare'
                USING ERRCODE = 'data_exception';
        END IF;
        probe := embedding;
        of_query := query_modality;
    END IF;

    -- What calibrated ranking needs; over one modality every ranking is that of the similarity.
    IF ranking = 'calibrated' AND cardinality(modalities) > 1 THEN
        DECLARE
            known record;
            own   @vector@.vector;
        BEGIN
            SELECT * INTO known FROM @schema@.modality_means(active.id);
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
                    known.means[u.n] OPERATOR(@vector@.<=>) probe::@vector@.vector
                LIMIT 1;
                centred := probe::@vector@.vector OPERATOR(@vector@.-) own;
                IF @vector@.vector_norm(centred) < 0.001 THEN
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
    FROM @schema@.space_modalities AS m
    LEFT JOIN @schema@.space_tunings AS t
        ON t.space_id = m.space_id AND t.item_modality = m.modality
        AND t.query_modality = coalesce(of_query, t.query_modality)
    WHERE m.space_id = active.id AND m.modality = ANY (modalities);

    -- Exact search where it is faster. A compact index has to find all that are ranked again.
    few := @schema@.few_matches(CASE WHEN active.coordinates IS NULL THEN k
        ELSE greatest(tuned, 4 * (k + 10)) END, asked.items);
    SELECT array_agg(CASE WHEN chosen IS NOT NULL THEN true
                          WHEN filtered OR row_security_active('@schema@.multimodal_items')
                          THEN @schema@.has_few_matches(u.m, filter, sources, few) ELSE false END
                     ORDER BY u.n)
    INTO exact
    FROM unnest(modalities) WITH ORDINALITY AS u (m, n);

    -- Calibrated candidates are those nearest to the centred query, so more of them are needed:
    -- the index knows the items' directions, not those of the items less their mean.
    -- Of raw ones some more than k, to see whether many that are equal come after the last.
    candidates := CASE WHEN centred IS NULL THEN k + 10 ELSE greatest(4 * k, 100) END;
    LOOP
        pieces := '';
        reranked := greatest(tuned, 4 * candidates);
        FOR n IN 1 .. cardinality(modalities) LOOP
            comparand := CASE WHEN centred IS NULL OR exact[n] THEN '$1' ELSE '$2' END;
            nearness := format('i.embedding OPERATOR(@vector@.<=>) %s::@vector@.%I', comparand,
                active.vector_type);
            piece := format(
                '@schema@.multimodal_items AS i WHERE i.modality = %L%s%s%s%s',
                modalities[n],
                CASE WHEN filter <> '{}' THEN ' AND i.metadata @> $3' END,
                CASE WHEN chosen IS NOT NULL THEN ' AND i.source_id = ANY ($11)'
                     WHEN sources IS NOT NULL THEN ' AND EXISTS (SELECT FROM '
                    '@schema@.source_items AS s WHERE s.id = i.source_id AND s.source = ANY ($8)'
                    || coalesce(' AND ' || condition, '') || ')' END,
                CASE WHEN itself IS NOT NULL THEN ' AND i.source_id <> $4' END,
                CASE WHEN min_similarity IS NOT NULL AND centred IS NOT NULL THEN format(
                    ' AND (i.embedding OPERATOR(@vector@.<=>) $1::@vector@.%I) <= 1 - $7',
                    active.vector_type) END);
            IF active.coordinates IS NOT NULL AND NOT exact[n] THEN
                piece := format('(SELECT i.* FROM %s ORDER BY @vector@.subvector(i.compact, 1, %s)'
                    '::@vector@.halfvec(%2$s) OPERATOR(@vector@.<=>) %s LIMIT %s) AS i',
                    piece, active.coordinates, CASE WHEN centred IS NULL THEN '$9' ELSE '$10' END,
                    reranked);
            END IF;
            pieces := pieces || format(
                '%s(SELECT i.id, i.source_id, i.part, i.modality, i.content_ref, i.metadata, '
                '%s AS distance, %s AS centred, %s AS reach FROM %s ORDER BY %s, i.id LIMIT %s)',
                CASE WHEN n > 1 THEN ' UNION ALL ' END,
                format('i.embedding OPERATOR(@vector@.<=>) $1::@vector@.%I', active.vector_type),
                CASE WHEN centred IS NULL THEN '0::float8' ELSE format(
                    '(i.embedding::@vector@.vector OPERATOR(@vector@.-) $5[%s]) '
                    'OPERATOR(@vector@.<=>) $6', n) END,
                CASE WHEN exact[n] THEN 'NULL::float8' ELSE nearness END,
                piece,
                CASE WHEN exact[n] AND centred IS NOT NULL
                     THEN format('(i.embedding::@vector@.vector OPERATOR(@vector@.-) $5[%s]) '
                                 'OPERATOR(@vector@.<=>) $6', n)
                     WHEN exact[n] THEN format('(%s) + 0', nearness)
                     ELSE nearness END,
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
            ),
            equal AS (  -- so many that they may take several nodes of the index
                SELECT modality, max(score) AS score FROM scored WHERE reach IS NOT NULL
                GROUP BY modality, reach HAVING count(*) >= 5
            )
            SELECT (SELECT array_agg((rank, id, source_id, part, modality, content_ref, metadata,
                        similarity, %5$s)::@schema@.item_match ORDER BY rank) FROM ranked),
                   EXISTS (SELECT FROM scored GROUP BY modality
                           HAVING count(*) = %6$s AND ($7 IS NULL OR min(similarity) >= $7)),
                   EXISTS (SELECT FROM scored GROUP BY modality
                           HAVING count(*) < %6$s AND min(similarity) >= $7),
                   EXISTS (SELECT FROM equal LEFT JOIN (
                               SELECT modality, min(score) AS score FROM ranked GROUP BY modality
                           ) AS worst USING (modality)
                           WHERE equal.score >= coalesce(worst.score,
                                                         (SELECT min(score) FROM ranked)))
            $sql$,
            pieces,
            -- One that is the mean of its modality, as an only one is, has no direction of its own.
            CASE WHEN centred IS NULL THEN '1 - distance'
                 ELSE 'coalesce(nullif(1 - centred, ''NaN''), 0)' END,
            CASE WHEN ranking = 'quota' THEN 'place,' END,
            k,
            CASE WHEN ranking = 'quota' AND cardinality(modalities) > 1
                 THEN '1.0 / place' ELSE 'score' END,
            candidates);
        PERFORM set_config('hnsw.ef_search',
            least(1000, CASE WHEN active.coordinates IS NULL THEN greatest(tuned, 2 * candidates)
                ELSE reranked END)::text, true);
        IF true = ALL (exact) AND tied IS NOT TRUE THEN
            PERFORM set_config('enable_seqscan', 'off', true);
        END IF;
        -- What the planner takes a filter to leave is often far too little, and then it reads and
        -- sorts all that matches. That the index pays was decided above: without sorts and hashes
        -- its order is the only one.
        PERFORM set_config(s.name, CASE WHEN true = ANY (exact) THEN 'on' ELSE 'off' END, true)
        FROM unnest('{enable_sort,enable_hashjoin,enable_mergejoin}'::text[]) AS s (name);
        EXECUTE statement INTO result, more, ended, tied
            USING probe, @vector@.l2_normalize(centred)::@vector@.halfvec, filter, itself, means,
                  centred, min_similarity::float8, sources,
                  @schema@.compact_embedding(probe, active.id, active.coordinates),
                  @schema@.compact_embedding(@vector@.l2_normalize(centred)::@vector@.halfvec,
                      active.id, active.coordinates), chosen;
        EXIT WHEN cardinality(result) >= k AND (NOT tied OR candidates >= 10000);
        IF tied AND cardinality(result) >= k AND coalesce(asked.items, 0) <= 50000 THEN
            -- A node of pgvector's graph holds up to 10 equal vectors; to further nodes of the same
            -- vector it need not lead. In a large table those are taken that it leads to.
            exact := array_fill(true, ARRAY[cardinality(modalities)]);
        ELSIF more THEN
            candidates := 4 * candidates;  -- many of them were parts of one source item
        ELSIF true = ALL (exact) OR min_similarity IS NOT NULL AND centred IS NULL
              AND NOT filtered AND NOT ended AND cardinality(result) > 0 THEN
            EXIT;
        ELSE
            -- The index scan ended before it found enough: it looks at so many rows at most.
            exact := array_fill(true, ARRAY[cardinality(modalities)]);
        END IF;
    END LOOP;

    RETURN QUERY SELECT r.* FROM unnest(result) AS r;
END $$;
COMMENT ON FUNCTION @schema@.nearest_items(
    text, @vector@.halfvec, bigint, text[], integer, jsonb, real, text, text, text[], bigint[],
    text) IS
    'search_items() of these sources, or of all, without a word where they are fewer than k.';

CREATE OR REPLACE FUNCTION @schema@.search_items(
    query          text    DEFAULT NULL,
    embedding      @vector@.halfvec DEFAULT NULL,
    like_item      bigint  DEFAULT NULL,
    modality       text[]  DEFAULT NULL,
    k              integer DEFAULT 10,
    filter         jsonb   DEFAULT '{}',
    min_similarity real    DEFAULT NULL,
    ranking        text    DEFAULT 'calibrated',
    query_modality text    DEFAULT NULL
)
RETURNS SETOF @schema@.item_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given bigint;
BEGIN
    RETURN QUERY SELECT * FROM @schema@.nearest_items(
        query, embedding, like_item, modality, k, filter, min_similarity, ranking, query_modality,
        NULL::text[], NULL::bigint[], NULL::text);
    GET DIAGNOSTICS given = ROW_COUNT;
    IF given < k THEN
        RAISE NOTICE 'only % of the % asked for: %', given, k, CASE
            WHEN min_similarity IS NOT NULL THEN format(
                'no other item%s has a similarity of at least %s',
                CASE WHEN filter <> '{}' THEN ' that matches the filter' END, min_similarity)
            WHEN filter <> '{}' THEN 'no other item matches the filter'
            ELSE 'there are no other items' END;
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.search_items(
    text, @vector@.halfvec, bigint, text[], integer, jsonb, real, text, text) IS
    'The k items nearest to a text, a vector or a stored item, best first, one row per source '
    'item: SELECT * FROM search_items(''a red bicycle'', modality => ''{image}''). Over several '
    'modalities ranking is calibrated (each modality''s mean subtracted), raw, or quota; '
    'query_modality says what an embedding was made from, where that is known.';
