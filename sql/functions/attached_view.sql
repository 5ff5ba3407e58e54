-- The view that says what source_items must hold of an attached table, and that of its items.

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements anyarray) RETURNS SETOF text
-- No setting of its own, so that it becomes a part of the query: all is named in full.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT u::pg_catalog.text FROM pg_catalog.unnest(elements) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(anyarray) IS 'The elements of an array, as texts.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements jsonb) RETURNS SETOF text
-- What is no array is an error of its row, and the null of JSON has no elements.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT u FROM pg_catalog.jsonb_array_elements_text(
    CASE WHEN pg_catalog.jsonb_typeof(elements) OPERATOR(pg_catalog.<>) 'null'
         THEN elements END) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(jsonb) IS 'The elements of a JSON array, as texts.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements jsonb[]) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT u OPERATOR(pg_catalog.#>>) '{}' FROM pg_catalog.unnest(elements) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(jsonb[]) IS
    'The elements of an array of JSON, as texts: a string without its quotes, null as NULL.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements json) RETURNS SETOF text
-- What is no array is an error of its row, and the null of JSON has no elements.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT u FROM pg_catalog.json_array_elements_text(
    CASE WHEN pg_catalog.json_typeof(elements) OPERATOR(pg_catalog.<>) 'null'
         THEN elements END) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(json) IS 'The elements of a JSON array, as texts.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements json[]) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT u OPERATOR(pg_catalog.#>>) '{}' FROM pg_catalog.unnest(elements) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(json[]) IS
    'The elements of an array of JSON, as texts: a string without its quotes, null as NULL.';

CREATE OR REPLACE FUNCTION @schema@.content_text(content anyelement) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT content::pg_catalog.text $$;
COMMENT ON FUNCTION @schema@.content_text(anyelement) IS 'A content of a row, as text.';

CREATE OR REPLACE FUNCTION @schema@.content_text(content jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT content OPERATOR(pg_catalog.#>>) '{}' $$;
COMMENT ON FUNCTION @schema@.content_text(jsonb) IS
    'A content of a row that is JSON, as text: a string without its quotes, null as NULL.';

CREATE OR REPLACE FUNCTION @schema@.content_text(content json) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT content OPERATOR(pg_catalog.#>>) '{}' $$;
COMMENT ON FUNCTION @schema@.content_text(json) IS
    'A content of a row that is JSON, as text: a string without its quotes, null as NULL.';

CREATE OR REPLACE FUNCTION @schema@.attached_select(
    attachment integer, OUT expressions text, OUT branches text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Within CASE nothing can give several rows, or one of several.
    SELECT string_agg(format('CASE WHEN true THEN (%s) END AS content_%s',
               c.said ->> 'content', c.n), ', ' ORDER BY c.n),
           string_agg(format('SELECT %L::pg_catalog.text, %L::pg_catalog.text, %s',
               format('%s.%s', s.name, c.called), c.said ->> 'modality',
               format(CASE WHEN (c.said -> 'each')::boolean
                   THEN 'pg_catalog.concat(''#'', u.n), u.content FROM '
                        '@schema@.elements_of(r.content_%s) WITH ORDINALITY AS u (content, n)'
                   ELSE '''''::pg_catalog.text, @schema@.content_text(r.content_%s)' END, c.n)),
               ' UNION ALL ' ORDER BY c.n)
    FROM @schema@.attached_sources AS s
    CROSS JOIN jsonb_each(s.definition -> 'contents') WITH ORDINALITY AS c (called, said, n)
    WHERE s.id = attachment
    GROUP BY s.id
$$;
COMMENT ON FUNCTION @schema@.attached_select(integer) IS
    'Of an attached source''s view: the contents as columns, and the branches that make rows of '
    'them.';

CREATE OR REPLACE FUNCTION @schema@.attached_metadata(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN s.definition ->> 'metadata' !~ '^[[:space:]]*[{]'
        THEN s.definition ->> 'metadata'
        ELSE (SELECT format('pg_catalog.jsonb_build_object(%s)',
                     string_agg(format('%L, %I.%I', m, c.relname, m), ', '))
              FROM unnest((s.definition ->> 'metadata')::text[]) AS m) END
    FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation
    WHERE s.id = attachment
$$;
COMMENT ON FUNCTION @schema@.attached_metadata(integer) IS
    'The expression of an attached source''s metadata: as it was given, or made of columns.';

CREATE OR REPLACE FUNCTION @schema@.make_attached_view(attachment integer, expressions_path text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s         record;
    contents  record;
    called    text := @schema@.attached_object(attachment);
    statement text;
    message   text;
    state     text;
BEGIN
    SELECT a.*, format('%I.%I', n.nspname, c.relname) AS named,
           ARRAY(SELECT format('%I.%I', c.relname, k)
                 FROM jsonb_array_elements_text(a.definition -> 'key') AS k) AS keys
    INTO s FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE a.id = attachment;
    SELECT * INTO contents FROM @schema@.attached_select(attachment);
    -- The expressions see the table and nothing of ours, so that no name of theirs is ambiguous.
    statement := format(
        'CREATE VIEW %s AS SELECT %s, r.row_key, c.source, '
        'pg_catalog.concat(r.row_key, c.suffix) AS source_key, c.modality, '
        'c.content AS content_ref, %s AS metadata '
        'FROM (SELECT %s, %s AS row_key, %s, CASE WHEN true THEN (%s) END AS metadata '
        'FROM %s%s) AS r CROSS JOIN LATERAL (%s) AS c (source, modality, suffix, '
        'content) WHERE c.content OPERATOR(pg_catalog.<>) ''''',
        called,
        (SELECT string_agg('r.key_' || n, ', ' ORDER BY n)
         FROM generate_subscripts(s.keys, 1) AS n),
        -- An object by itself where it is made of columns.
        CASE WHEN coalesce(s.definition ->> 'metadata', '{') ~ '^[[:space:]]*[{]'
            THEN 'coalesce(r.metadata, ''{}''::pg_catalog.jsonb)'
            ELSE format('@schema@.metadata_object(%L, r.row_key, r.metadata)', s.name) END,
        (SELECT string_agg(format('%s AS key_%s', s.keys[n], n), ', ' ORDER BY n)
         FROM generate_subscripts(s.keys, 1) AS n),
        @schema@.attached_row_key(s.keys), contents.expressions,
        coalesce(@schema@.attached_metadata(attachment), 'NULL::pg_catalog.jsonb'), s.named,
        ' WHERE (' || (s.definition ->> 'filter') || ')', contents.branches);
    BEGIN
        EXECUTE pg_catalog.concat('SET LOCAL search_path TO ',
            coalesce(nullif(pg_catalog.btrim(expressions_path), ''), ''''''));
        -- A condition may not have aggregates and windows, nor may what is asked for row by row.
        EXECUTE format('EXPLAIN SELECT FROM %s WHERE false AND ((%s) IS NULL OR (%s) IS NULL)',
            s.named, (SELECT string_agg(c.value ->> 'content', ') IS NULL OR (')
                      FROM jsonb_each(s.definition -> 'contents') AS c),
            coalesce(@schema@.attached_metadata(attachment), 'NULL'));
        EXECUTE statement;
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception
                OR feature_not_supported THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
        RAISE EXCEPTION '% cannot be attached so: %', s.named,
            concat_ws(': ', @schema@.unfit_expression(attachment, expressions_path),
                @schema@.why_unfit(state, message)) USING
            ERRCODE = state, DETAIL = statement,
            HINT = 'An expression may be what a SELECT from the table alone may have as a column; '
                   'one with "each" is an array, or a JSON array.';
    END;
    SET LOCAL search_path TO pg_catalog, pg_temp;
    EXECUTE format('COMMENT ON VIEW %s IS %L', called, format(
        'What is searched of %s: the pipeline''s attached source %s.', s.named, s.name));
    PERFORM @schema@.take_from_others('VIEW', called);
    UPDATE @schema@.attached_sources AS a SET view = called::regclass WHERE a.id = attachment;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_view(integer, text) IS
    'Makes the view of an attached source, with the search path of its expressions.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_view(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s     record;
    other text;
BEGIN
    SELECT a.*, r.ev_action::text ~ '[{]VAR :varno [0-9]+ :varattno -' AS has_system_columns INTO s
    FROM @schema@.attached_sources AS a JOIN pg_rewrite AS r ON r.ev_class = a.view
    WHERE a.id = attachment;
    IF s.has_system_columns THEN
        -- They change with a VACUUM, and with every UPDATE, and no trigger compares them.
        RAISE EXCEPTION '% cannot be attached so: ctid, xmin and other columns of PostgreSQL''s own '
            'say nothing of the row', s.relation USING ERRCODE = 'feature_not_supported',
            HINT = 'Have a column of your own for it, such as a time of change.';
    END IF;
    SELECT string_agg(DISTINCT r::text, ', ') INTO other
    FROM @schema@.relations_of_view(s.view) AS r
    WHERE r <> s.relation AND r <> ALL (ARRAY(
        SELECT o FROM @schema@.attached_depends_on(attachment) AS o));
    IF other IS NOT NULL AND s.capture <> 'scan' THEN
        RAISE WARNING '% is made of % as well, whose changes are not seen', s.name, other USING
            HINT = format('depends_on => ''{%s}'' has each change there lead to a sync, and '
                          'capture => ''scan'' needs none.', other);
    END IF;
    FOR s IN SELECT * FROM @schema@.attached_row_security(attachment) LOOP
        RAISE EXCEPTION '%', s.problem USING ERRCODE = 'feature_not_supported', HINT = s.cure;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_view(integer) IS
    'Raises, or warns, where the items of an attached source would show more than they should, or '
    'not follow all of it.';

CREATE OR REPLACE FUNCTION @schema@.make_attached_items_view(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       record;
    called  text;
    columns text;
BEGIN
    SELECT a.*, n.nspname, length(a.name) + 2 AS after_name INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE a.id = attachment;
    called := format('%I.%I', s.nspname, s.name || '_items');
    IF to_regclass(called) IS NOT NULL THEN
        RAISE EXCEPTION '% is there already, as the view of its items would be called', called USING
            ERRCODE = 'duplicate_table',
            HINT = 'Give the source another name, or rename what is called so.';
    END IF;
    -- Only where the source is this one is the key of the key's type.
    SELECT string_agg(format('CASE WHEN s.source = ANY (%L) THEN %s END AS %I', s.sources,
               replace(k.of_text, 'a.row_key', 's.row_key'),
               @schema@.items_view_key(d.name, ARRAY(SELECT jsonb_array_elements_text(
                   s.definition -> 'key')))), ', ' ORDER BY k.n)
    INTO columns
    FROM @schema@.attached_key(attachment) AS k
    JOIN jsonb_array_elements_text(s.definition -> 'key') WITH ORDINALITY AS d (name, n)
        ON d.n = k.n;
    EXECUTE format(
        'CREATE VIEW %s WITH (security_invoker = true) AS SELECT %s, s.row_key, '
        'substr(s.source, %s) AS content, i.part, i.modality, i.content_ref, i.metadata, '
        'i.embedding, i.id AS item_id, i.source_id FROM @schema@.source_items AS s '
        'JOIN @schema@.multimodal_items AS i ON i.source_id = s.id WHERE s.source = ANY (%L)',
        called, columns, s.after_name, s.sources);
    EXECUTE format('COMMENT ON VIEW %s IS %L', called, format(
        'The items of %s, with the key of their row: JOIN %1$s USING (%s)', s.relation,
        (SELECT string_agg(quote_ident(k), ', ')
         FROM jsonb_array_elements_text(s.definition -> 'key') AS k)));
    PERFORM @schema@.take_from_others('VIEW', called);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_ingest') THEN
        EXECUTE format('GRANT SELECT ON %s TO pipeline_analyst, pipeline_ingest, pipeline_owner',
                       called);
    END IF;
    UPDATE @schema@.attached_sources AS a SET items_view = called::regclass WHERE a.id = attachment;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_items_view(integer) IS
    'Makes the view of an attached source''s items, such as products_items.';
