-- The search among those rows of an attached source that meet a condition over its own columns: a
-- price, a day, what is in stock. PostgreSQL knows how many do, so it can be decided which way to
-- search them.

CREATE OR REPLACE FUNCTION @schema@.attached_rows_meeting(
    attachment integer, meeting text, OUT rows text, OUT of_source_item text)
-- rows: a query that gives the keys, as text; of_source_item: the same of the source item s.
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- In a query of its own, where no column of ours can be meant by a name.
    SELECT format(E'SELECT %s AS row_key FROM %I.%I WHERE (%s\n)',
               @schema@.attached_row_key(k.names), n.nspname, c.relname, meeting),
           format(E'EXISTS (SELECT FROM (SELECT %s FROM %I.%I WHERE (%s\n)) AS r WHERE %s)',
               k.columns, n.nspname, c.relname, meeting, k.equal)
    FROM @schema@.attached_sources AS a
    JOIN pg_class AS c ON c.oid = a.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT array_agg(d.name ORDER BY o.n) AS names,
               string_agg(format('%s AS key_%s', d.name, o.n), ', ' ORDER BY o.n) AS columns,
               -- Only where the source is this one is the key of the key's type.
               string_agg(format('r.key_%s %s CASE WHEN s.source = ANY (%L) THEN %s END', o.n,
                   o.equals, a.sources, replace(o.of_text, 'a.row_key', 's.row_key')),
                   ' AND ' ORDER BY o.n) AS equal
        FROM @schema@.attached_key(a.id) AS o
        CROSS JOIN LATERAL (
            -- Where nothing follows its names, by those that it was attached with.
            SELECT coalesce(o.name, quote_ident(a.definition -> 'key' ->> (o.n - 1)::integer)) AS name
        ) AS d
    ) AS k
    WHERE a.id = attachment
$$;
COMMENT ON FUNCTION @schema@.attached_rows_meeting(integer, text) IS
    'Which rows of an attached source meet a condition: as a query, and as a condition.';

CREATE OR REPLACE FUNCTION @schema@.source_items_meeting(rows text, sources text[], few bigint)
RETURNS bigint[]
-- Runs with the caller's rights, so that who may not read the table learns nothing of it.
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    plan   jsonb;
    many   boolean;
    chosen bigint[];
    asked  refcursor;  -- which takes one statement only
    said   text;
    state  text;
BEGIN
    BEGIN
        OPEN asked FOR EXECUTE 'EXPLAIN (FORMAT JSON) ' || rows;
        FETCH asked INTO plan;
        CLOSE asked;
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception
                OR feature_not_supported OR invalid_cursor_definition THEN
        GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
        RAISE EXCEPTION 'the condition cannot be asked for: %', said USING ERRCODE = state,
            HINT = 'It is what may follow WHERE in a SELECT from the table alone, such as price < '
                   '20; what is in no schema of PostgreSQL''s is named with its own: shop.category.';
    END;
    -- Here it comes from the statistics of the table's own columns, so it is usually near.
    IF (plan #>> '{0,Plan,Plan Rows}')::float8 > 20.0 * few THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'WITH r AS MATERIALIZED (SELECT row_key FROM (%s) AS r LIMIT %s + 1) '
        'SELECT (SELECT count(*) FROM r) > %2$s, (SELECT array_agg(s.id) FROM r '
        'JOIN @schema@.source_items AS s ON s.source = ANY ($1) AND s.row_key = r.row_key '
        'WHERE (SELECT count(*) FROM r) <= %2$s)', rows, few)
        INTO many, chosen USING sources;
    RETURN CASE WHEN NOT many THEN coalesce(chosen, '{}') END;
END $$;
COMMENT ON FUNCTION @schema@.source_items_meeting(text, text[], bigint) IS
    'The source items of the rows that a query gives the keys of; null where they are more than few.';

CREATE OR REPLACE FUNCTION @schema@.search_rows_where(
    name           text,
    condition      text,
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
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s      record;
    which  record;
    chosen bigint[];
BEGIN
    SELECT a.* INTO s FROM @schema@.attached_sources AS a
    WHERE a.id = @schema@.attached_source(search_rows_where.name);
    IF s.relation IS NULL THEN
        RAISE EXCEPTION '% is no table or view, whose columns a condition could be about', s.name
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'search_rows() takes a filter of the metadata.';
    ELSIF condition IS NULL OR condition = '' THEN
        RAISE EXCEPTION 'condition is %, and must be one over the columns of %',
            quote_nullable(condition), s.relation USING ERRCODE = 'invalid_parameter_value',
            HINT = 'search_rows() searches all of its rows.';
    END IF;
    which := @schema@.attached_rows_meeting(s.id, condition);
    IF k BETWEEN 1 AND 10000 THEN  -- else it is refused below
        -- Of what is asked for alone: each is looked up among the items.
        chosen := @schema@.source_items_meeting(which.rows, ARRAY(
            SELECT s.name || '.' || c.key FROM jsonb_each(s.definition -> 'contents') AS c
            WHERE coalesce(c.key = ANY (content), true)
              AND coalesce(c.value ->> 'modality' = ANY (modality), true)
        ), @schema@.few_matches(k, (
            SELECT max(m.item_count) FROM @schema@.space_modalities AS m
            JOIN @schema@.embedding_spaces AS e ON e.id = m.space_id WHERE e.state = 'active')));
    END IF;
    RETURN QUERY SELECT * FROM @schema@.nearest_rows_of(name, query, embedding, like_item, content,
        modality, k, filter, min_similarity, ranking, query_modality, chosen,
        CASE WHEN chosen IS NULL THEN which.of_source_item END);
END $$;
COMMENT ON FUNCTION @schema@.search_rows_where(
    text, text, text, @vector@.halfvec, bigint, text[], text[], integer, jsonb, real, text, text) IS
    'search_rows() among the rows that meet a condition, which is SQL over the columns of the table: '
    'SELECT * FROM search_rows_where(''products'', ''price < 20'', ''a red bicycle'').';
