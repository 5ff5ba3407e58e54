-- The search among the rows of an attached source: one hit a row, by the best of its contents.

CREATE OR REPLACE FUNCTION @schema@.nearest_rows_of(
    name text, query text, embedding @vector@.halfvec, like_item bigint, content text[],
    modality text[], k integer, filter jsonb, min_similarity real, ranking text,
    query_modality text, chosen bigint[], condition text)
RETURNS SETOF @schema@.row_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       record;
    sources text[];
    wrong   text;
    probe   @vector@.halfvec := embedding;
    n       integer;
    hits    @schema@.item_match[];
    rows    bigint;
BEGIN
    SELECT a.name, a.sources, length(a.name) + 2 AS after_name INTO s
    FROM @schema@.attached_sources AS a WHERE a.id = @schema@.attached_source(nearest_rows_of.name);
    SELECT string_agg(quote_nullable(c), ', ') INTO wrong FROM unnest(content) AS c
    WHERE s.name || '.' || c <> ALL (s.sources) OR c IS NULL;
    IF wrong IS NOT NULL OR content = '{}' THEN
        RAISE EXCEPTION '% has no content %', s.name, coalesce(wrong, '{}') USING
            ERRCODE = 'invalid_parameter_value', HINT = format('It has %s.', (
                SELECT string_agg(substr(o, s.after_name), ', ') FROM unnest(s.sources) AS o));
    ELSIF k IS NULL OR k < 1 OR k > 10000 THEN
        RAISE EXCEPTION 'k is %, and must be between 1 and 10000', coalesce(k::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    sources := coalesce((SELECT array_agg(s.name || '.' || c) FROM unnest(content) AS c), s.sources);
    n := k;
    LOOP
        -- Of the contents of one row often several are near, so there may have to be more.
        SELECT array_agg(m::@schema@.item_match ORDER BY m.rank) INTO hits
        FROM @schema@.nearest_items(query, probe, like_item, modality, n, filter,
            min_similarity, ranking, query_modality, sources, chosen, condition) AS m;
        SELECT count(DISTINCT coalesce(i.row_key, i.id::text)) INTO rows
        FROM unnest(hits) AS h JOIN @schema@.source_items AS i ON i.id = h.source_id;
        EXIT WHEN rows >= k OR coalesce(cardinality(hits), 0) < n OR n >= 100000;
        n := least(4 * n, 100000);
    END LOOP;
    RETURN QUERY
    WITH best AS (
        SELECT DISTINCT ON (coalesce(i.row_key, i.id::text)) h.*, i.row_key AS of_row, i.source
        FROM unnest(hits) AS h JOIN @schema@.source_items AS i ON i.id = h.source_id
        ORDER BY coalesce(i.row_key, i.id::text), h.rank
    )
    SELECT row_number() OVER (ORDER BY b.rank)::integer, b.of_row, substr(b.source, s.after_name), b.id,
        b.source_id, b.part, b.modality, b.content_ref, b.metadata, b.similarity, b.score
    FROM best AS b ORDER BY b.rank LIMIT k;
END $$;
COMMENT ON FUNCTION @schema@.nearest_rows_of(
    text, text, @vector@.halfvec, bigint, text[], text[], integer, jsonb, real, text, text, bigint[],
    text) IS
    'search_rows() of all rows, of those with the source items chosen, or of those that meet a '
    'condition over the source item s.';

CREATE OR REPLACE FUNCTION @schema@.search_rows(
    name           text,
    query          text    DEFAULT NULL,
    embedding      @vector@.halfvec DEFAULT NULL,
    like_item      bigint  DEFAULT NULL,
    content        text[]  DEFAULT NULL,
    modality       text[]  DEFAULT NULL,
    k              integer DEFAULT 10,
    filter         jsonb   DEFAULT '{}',
    min_similarity real    DEFAULT NULL,
    ranking        text    DEFAULT 'calibrated',
    query_modality text    DEFAULT NULL
)
RETURNS SETOF @schema@.row_match
LANGUAGE sql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM @schema@.nearest_rows_of(name, query, embedding, like_item, content, modality, k,
        filter, min_similarity, ranking, query_modality, NULL::bigint[], NULL::text)
$$;
COMMENT ON FUNCTION @schema@.search_rows(
    text, text, @vector@.halfvec, bigint, text[], text[], integer, jsonb, real, text, text) IS
    'The k rows of an attached source that are nearest to a text, a vector or an item, one hit a row '
    'by the best of its contents: SELECT * FROM search_rows(''products'', ''a red bicycle''). '
    'row_key is the key of the row as text.';
