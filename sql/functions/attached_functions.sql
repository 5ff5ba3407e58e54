-- The functions of an attached source, which act as the table's owner: of its triggers, and of a sync.

CREATE OR REPLACE FUNCTION @schema@.is_attached(attachment integer, relation regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF relation = (SELECT s.relation FROM @schema@.attached_sources AS s WHERE s.id = attachment)
    THEN
        RETURN true;
    END IF;
    -- One that was detached has its triggers until the next sync.
    RETURN EXISTS (SELECT FROM @schema@.attached_sources AS s
                   CROSS JOIN LATERAL pg_partition_tree(s.relation) AS p
                   WHERE s.id = attachment AND p.relid = is_attached.relation);
END $$;
COMMENT ON FUNCTION @schema@.is_attached(integer, regclass) IS
    'Whether a table is an attached one or a part of it.';

CREATE OR REPLACE FUNCTION @schema@.is_synced_by_others() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT p.prosecdef FROM pg_proc AS p
    WHERE p.oid = '@schema@.sync_attached(integer, text[])'::regprocedure $$;
COMMENT ON FUNCTION @schema@.is_synced_by_others() IS
    'Whether others than a table''s owner may sync it, by the role pipeline_sync.';

CREATE OR REPLACE FUNCTION @schema@.let_sync_in(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place name := (SELECT n.nspname FROM @schema@.attached_sources AS s
                   JOIN pg_class AS c ON c.oid = s.relation
                   JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE s.id = attachment);
    grant_usage text := format('GRANT USAGE ON SCHEMA %I TO pipeline_sync', place);
BEGIN
    IF has_schema_privilege('pipeline_sync', place, 'USAGE') THEN
        RETURN;
    ELSIF NOT (SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace AS n
               WHERE n.nspname = place) THEN
        RAISE EXCEPTION 'pipeline_sync may not use the schema %', place USING
            ERRCODE = 'insufficient_privilege', HINT = grant_usage || ';';
    END IF;
    EXECUTE grant_usage;
    UPDATE @schema@.attached_sources AS s SET definition = s.definition || '{"let_in": true}'
    WHERE s.id = attachment;
END $$;
COMMENT ON FUNCTION @schema@.let_sync_in(integer) IS
    'Lets a sync use the schema of an attached source.';

CREATE OR REPLACE FUNCTION @schema@.attached_function_head() RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- With the settings on which the text of a value depends.
RETURN 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
    'SET timezone = ''UTC'' SET datestyle = ''ISO, MDY'' SET intervalstyle = ''postgres'' '
    'SET extra_float_digits = 1 SET bytea_output = ''hex'' SET lc_monetary = ''C''';
COMMENT ON FUNCTION @schema@.attached_function_head() IS
    'What the functions of attached sources have in common.';

CREATE OR REPLACE FUNCTION @schema@.make_trigger_function(attachment integer, quick text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s    record;
    body text := format(
        '%2$s IF TG_LEVEL = ''ROW'' THEN EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL) '
        'USING NEW, OLD; ELSE EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL); END IF;',
        attachment, quick);
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF s.on_error = 'warn' THEN  -- the user's statement is not to fail because of us
        body := format('BEGIN %s EXCEPTION WHEN OTHERS THEN '
                       'PERFORM @schema@.note_attached_problem(%s, SQLERRM, true); END;',
                       body, attachment);
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION %s_changed() RETURNS trigger %s AS %L',
        @schema@.attached_object(attachment), @schema@.attached_function_head(),
        format(E'#variable_conflict use_column\nBEGIN IF @schema@.is_attached(%s, TG_RELID) THEN %s '
               'END IF; RETURN NULL; END', attachment, body));
END $$;
COMMENT ON FUNCTION @schema@.make_trigger_function(integer, text) IS
    'Makes the function of an attached source''s triggers, which tries its quick statements first.';

CREATE OR REPLACE FUNCTION @schema@.quick_names(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format(
        'pg_catalog.to_regclass(%L) IS NOT NULL AND (SELECT pg_catalog.array_agg(a.attname '
        'ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid '
        'OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%L) AND a.attnum OPERATOR(pg_catalog.=) '
        'ANY (%L::pg_catalog.int2[])) OPERATOR(pg_catalog.=) %L::pg_catalog.name[]',
        s.view::text, s.relation::text, array_agg(a.attnum ORDER BY a.attnum),
        array_agg(a.attname ORDER BY a.attnum))
    FROM @schema@.attached_sources AS s
    CROSS JOIN @schema@.attached_columns(attachment) AS used (columns)
    JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped
        AND coalesce(quote_ident(a.attname) = ANY (used.columns), true)
    WHERE s.id = attachment
    GROUP BY s.view, s.relation
$$;
COMMENT ON FUNCTION @schema@.quick_names(integer) IS
    'The condition that all that an attached source uses is called as it is now.';

CREATE OR REPLACE FUNCTION @schema@.quick_statements(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- With names in it, a statement is planned once a session; but planned for few rows.
    SELECT format('IF TG_OP <> ''TRUNCATE'' THEN IF %s THEN %s END IF; END IF;',
        @schema@.quick_names(attachment), string_agg(
            CASE s.capture WHEN 'row' THEN format(
                'IF TG_OP = %L THEN %s; RETURN NULL; END IF;', o.op,
                replace(replace(@schema@.attached_statement(attachment, o.op, 'ROW'),
                                '($1).', 'NEW.'), '($2).', 'OLD.'))
            ELSE format(
                'IF TG_OP = %L THEN IF NOT EXISTS (SELECT FROM %s OFFSET 100) THEN %s; '
                'RETURN NULL; END IF; END IF;', o.op, o.rows,
                @schema@.attached_statement(attachment, o.op, 'STATEMENT')) END, ' '))
    FROM @schema@.attached_sources AS s
    CROSS JOIN (VALUES ('INSERT', 'new_rows'), ('UPDATE', 'new_rows'), ('DELETE', 'old_rows'))
        AS o (op, rows)
    WHERE s.id = attachment AND s.capture IN ('statement', 'row')
$$;
COMMENT ON FUNCTION @schema@.quick_statements(integer) IS
    'The code by which an attached source follows statements of few rows.';

CREATE OR REPLACE FUNCTION @schema@.renew_quick_statements(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    quick  text := @schema@.quick_statements(attachment);
    called text := @schema@.attached_object(attachment, '_changed()');
BEGIN
    -- What was renamed since is followed without, only slower: no reason to fail.
    IF position(quick IN (
            SELECT p.prosrc FROM pg_proc AS p WHERE p.oid = to_regprocedure(called))) = 0
       AND (SELECT has_schema_privilege(p.pronamespace, 'CREATE') FROM pg_proc AS p
            WHERE p.oid = to_regprocedure(called))
    THEN
        PERFORM @schema@.make_trigger_function(attachment, quick);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.renew_quick_statements(integer) IS
    'Gives an attached source''s triggers the statements with the names as they are now.';

CREATE OR REPLACE FUNCTION @schema@.make_attached_functions(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    called text := @schema@.attached_object(attachment);
    head   text := @schema@.attached_function_head();
    made   text;
BEGIN
    PERFORM @schema@.make_trigger_function(attachment, '');
    EXECUTE format(
        'CREATE FUNCTION %s_sync(keys text[], OUT added bigint, OUT changed bigint, '
        'OUT removed bigint, OUT left_out bigint) %s AS %L', called, head, format(
        'DECLARE held text[]; items bigint[]; BEGIN '
        'EXECUTE @schema@.attached_statement(%1$s, ''keys'') INTO keys USING keys; '
        'EXECUTE @schema@.attached_statement(%1$s, ''lock rows'') INTO held USING keys; '
        'EXECUTE @schema@.attached_statement(%1$s, ''lock items'') INTO items USING keys; '
        'held := coalesce(held, ''{}''); items := coalesce(items, ''{}''); '
        'EXECUTE @schema@.attached_statement(%1$s, ''left out'') INTO left_out '
        'USING keys, held, items; '
        'EXECUTE @schema@.attached_statement(%1$s, ''sync'') INTO added, changed, removed '
        'USING keys, held, items; END', attachment));
    EXECUTE format(
        'CREATE FUNCTION %s_compare() RETURNS SETOF text %s AS %L', called, head,
        format('BEGIN PERFORM @schema@.renew_attached_triggers(%1$s); '
               'PERFORM @schema@.renew_quick_statements(%1$s); '
               'RETURN QUERY EXECUTE @schema@.attached_statement(%1$s, ''compare''); END',
               attachment));
    FOREACH made IN ARRAY '{_changed(),_sync(pg_catalog.text[]),_compare()}'::text[] LOOP
        PERFORM @schema@.give_to_owner(attachment, 'FUNCTION', called || made);
        IF made <> '_changed()' AND @schema@.is_synced_by_others() THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s%s TO pipeline_sync', called, made);
        END IF;
    END LOOP;
    IF @schema@.is_synced_by_others() THEN
        PERFORM @schema@.let_sync_in(attachment);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_functions(integer) IS
    'Makes the functions of an attached source, which belong to the table''s owner.';
