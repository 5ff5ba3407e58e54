-- The function of an attached source's triggers, which acts as the table's owner.

CREATE OR REPLACE FUNCTION @schema@.is_attached(attachment integer, relation regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(relation = (
        SELECT s.relation FROM @schema@.attached_sources AS s WHERE s.id = attachment), true)
    THEN
        RETURN true;  -- as well where the snapshot is older than the attachment
    END IF;
    -- One that was detached has its triggers until the next sync.
    RETURN EXISTS (SELECT FROM @schema@.attached_sources AS s
                   CROSS JOIN LATERAL pg_partition_tree(s.relation) AS p
                   WHERE s.id = attachment AND p.relid = is_attached.relation);
END $$;
COMMENT ON FUNCTION @schema@.is_attached(integer, regclass) IS
    'Whether a table is an attached one or a part of it.';

CREATE OR REPLACE FUNCTION @schema@.attached_function_head() RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- With the settings on which the text of a value depends.
RETURN 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
    'SET timezone = ''UTC'' SET datestyle = ''ISO, MDY'' SET intervalstyle = ''postgres'' '
    'SET extra_float_digits = 1 SET bytea_output = ''hex'' SET lc_monetary = ''C''';
COMMENT ON FUNCTION @schema@.attached_function_head() IS
    'How the function of an attached source''s triggers is declared.';

CREATE OR REPLACE FUNCTION @schema@.make_trigger_function(attachment integer, quick text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s    record;
    body text := format(
        'IF NOT @schema@.is_attached(%1$s, TG_RELID) THEN RETURN NULL; END IF; '
        '%2$s IF TG_LEVEL = ''ROW'' THEN EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL) '
        'USING NEW, OLD; ELSE EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL); END IF;',
        attachment, quick);
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF s.on_error = 'warn' THEN  -- the user's statement is not to fail because of us
        body := format(
            'BEGIN %1$s EXCEPTION WHEN OTHERS OR assert_failure THEN BEGIN failure := ARRAY[SQLSTATE, SQLERRM]; '
            'IF TG_OP <> ''TRUNCATE'' AND @schema@.is_error_of_a_row(SQLSTATE) THEN '
            'statement := @schema@.attached_statement(%2$s, ''keys of '' || TG_OP, TG_LEVEL); '
            'IF TG_LEVEL = ''ROW'' THEN EXECUTE statement INTO changed_keys USING NEW, OLD; '
            'ELSE EXECUTE statement INTO changed_keys; END IF; END IF; '
            'PERFORM @schema@.follow_each(%2$s, changed_keys, failure[1], failure[2]); '
            -- Nothing of ours, which whoever owns the table may not be allowed to call.
            'EXCEPTION WHEN OTHERS OR assert_failure THEN RAISE WARNING ''the items of attached source %2$s '
            'do not follow: %%'', CASE WHEN SQLSTATE LIKE ''42%%'' AND SQLSTATE NOT LIKE ''4260%%'' THEN SQLERRM '
            'ELSE ''SQLSTATE '' || SQLSTATE END; END; END;', body, attachment);
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION %s_changed() RETURNS trigger %s AS %L',
        @schema@.attached_object(attachment), @schema@.attached_function_head(),
        format(E'#variable_conflict use_column\nDECLARE failure text[]; changed_keys text[]; '
               'statement text; BEGIN %s RETURN NULL; END', body));
    PERFORM @schema@.take_from_others('FUNCTION',
        @schema@.attached_object(attachment, '_changed()'));
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
        'ANY (%L::pg_catalog.int2[])) OPERATOR(pg_catalog.=) %L::pg_catalog.name[] '
        'AND NOT pg_catalog.row_security_active(pg_catalog.to_regclass(%2$L))',
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
                @schema@.attached_statement(attachment, o.op, 'ROW', '{NEW,OLD}'))
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
