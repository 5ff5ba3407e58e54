-- What is made for an attached source: a view, functions and triggers.

CREATE OR REPLACE FUNCTION @schema@.attached_object(attachment integer, suffix text DEFAULT '')
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%I.pipeline_source_%s%s', n.nspname, s.id, suffix)
    FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE s.id = attachment
$$;
COMMENT ON FUNCTION @schema@.attached_object(integer, text) IS
    'The name, with its schema, of an object that is made for an attached source.';

CREATE OR REPLACE FUNCTION @schema@.give_to_owner(attachment integer, kind text, object text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner name := (SELECT pg_get_userbyid(c.relowner) FROM @schema@.attached_sources AS s
                   JOIN pg_class AS c ON c.oid = s.relation WHERE s.id = attachment);
    given record;
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER %s %s OWNER TO %I', kind, object, owner);
    END IF;
    -- What default privileges give to others as well as what PUBLIC has.
    FOR given IN
        SELECT a.grantee FROM (
            SELECT coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner FROM pg_proc AS p
            WHERE kind = 'FUNCTION' AND p.oid = to_regprocedure(object)
            UNION ALL
            SELECT coalesce(c.relacl, acldefault('r', c.relowner)), c.relowner FROM pg_class AS c
            WHERE kind = 'VIEW' AND c.oid = to_regclass(object)
        ) AS o (acl, owner) CROSS JOIN aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner GROUP BY 1
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
            CASE kind WHEN 'VIEW' THEN 'TABLE' ELSE kind END, object,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.give_to_owner(integer, text, text) IS
    'Gives an object that was made for an attached source to the table''s owner, and to nobody '
    'else.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements anyarray) RETURNS SETOF text
LANGUAGE sql IMMUTABLE
AS $$ SELECT u::pg_catalog.text FROM pg_catalog.unnest(elements) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(anyarray) IS 'The elements of an array, as texts.';

CREATE OR REPLACE FUNCTION @schema@.elements_of(elements jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE
AS $$ SELECT u FROM pg_catalog.jsonb_array_elements_text(
    CASE pg_catalog.jsonb_typeof(elements) WHEN 'array' THEN elements END) AS u $$;
COMMENT ON FUNCTION @schema@.elements_of(jsonb) IS 'The elements of a JSON array, as texts.';

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
                   ELSE '''''::pg_catalog.text, r.content_%s::pg_catalog.text' END, c.n)),
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
        'c.content AS content_ref, coalesce(r.metadata, ''{}''::pg_catalog.jsonb) AS metadata '
        'FROM (SELECT %s, %s AS row_key, %s, CASE WHEN true THEN (%s) END::pg_catalog.jsonb '
        'AS metadata FROM %s%s) AS r CROSS JOIN LATERAL (%s) AS c (source, modality, suffix, '
        'content) WHERE c.content OPERATOR(pg_catalog.<>) ''''',
        called,
        (SELECT string_agg('r.key_' || n, ', ' ORDER BY n)
         FROM generate_subscripts(s.keys, 1) AS n),
        (SELECT string_agg(format('%s AS key_%s', s.keys[n], n), ', ' ORDER BY n)
         FROM generate_subscripts(s.keys, 1) AS n),
        @schema@.attached_row_key(s.keys), contents.expressions,
        coalesce(@schema@.attached_metadata(attachment), 'NULL'), s.named,
        ' WHERE (' || (s.definition ->> 'filter') || ')', contents.branches);
    BEGIN
        PERFORM set_config('search_path', expressions_path, true);
        EXECUTE statement;
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception
                OR feature_not_supported THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
        RAISE EXCEPTION '% cannot be attached so: %', s.named, message USING
            ERRCODE = state, DETAIL = statement,
            HINT = 'An expression may be what a SELECT from the table alone may have as a column; '
                   'one with "each" is an array.';
    END;
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    EXECUTE format('COMMENT ON VIEW %s IS %L', called, format(
        'What is searched of %s: the pipeline''s attached source %s.', s.named, s.name));
    PERFORM @schema@.give_to_owner(attachment, 'VIEW', called);
    UPDATE @schema@.attached_sources AS a SET view = called::regclass WHERE a.id = attachment;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_view(integer, text) IS
    'Makes the view of an attached source, with the search path of its expressions.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_view(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       record;
    other   text;
    lacking text;
BEGIN
    SELECT a.*, c.relrowsecurity, r.oid AS rule,
           a.definition ->> 'metadata' ~ '^[[:space:]]*[{]' AS has_columns INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    JOIN pg_rewrite AS r ON r.ev_class = a.view WHERE a.id = attachment;
    SELECT string_agg(DISTINCT d.refobjid::regclass::text, ', ') INTO other
    FROM pg_depend AS d
    WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = s.rule
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid NOT IN (s.relation, s.view)
      AND d.refobjid <> ALL (ARRAY(
          SELECT o::regclass FROM jsonb_array_elements_text(s.definition -> 'depends_on') AS o));
    IF other IS NOT NULL AND s.capture <> 'scan' THEN
        RAISE WARNING '% is made of % as well, whose changes are not seen', s.name, other USING
            HINT = format('depends_on => ''{%s}'' has each change there lead to a sync, and '
                          'capture => ''scan'' needs none.', other);
    END IF;
    -- Items are read by whoever may read items; the policies of the table are not theirs.
    IF NOT s.relrowsecurity THEN
        RETURN;
    END IF;
    SELECT string_agg(DISTINCT quote_ident(a.attname), ',') INTO lacking
    FROM pg_policy AS p
    JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.relation AND d.refobjsubid > 0
    JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum = d.refobjsubid
    WHERE p.polrelid = s.relation AND NOT coalesce(s.has_columns AND a.attname = ANY (
        CASE WHEN s.has_columns THEN (s.definition ->> 'metadata')::text[] END), false);
    IF lacking IS NOT NULL OR s.has_columns IS NOT TRUE THEN
        RAISE EXCEPTION '% has row-level security, which its items would not have', s.relation
            USING ERRCODE = 'feature_not_supported',
            HINT = format('Give them what its policies ask for, metadata => ''{%s}'', and '
                          'multimodal_items and source_items policies over that.', lacking);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_view(integer) IS
    'Raises, or warns, where the items of an attached source would show more than they should, or '
    'not follow all of it.';

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

CREATE OR REPLACE FUNCTION @schema@.make_attached_functions(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s      record;
    called text := @schema@.attached_object(attachment);
    -- Settings on which the text of a value depends.
    head   text := 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
        'SET timezone = ''UTC'' SET datestyle = ''ISO, MDY'' SET intervalstyle = ''postgres'' '
        'SET extra_float_digits = 1 SET bytea_output = ''hex'' SET lc_monetary = ''C'' ';
    body   text := format(
        'IF TG_LEVEL = ''ROW'' THEN EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL, '
        'TG_RELID) USING NEW, OLD; ELSE EXECUTE @schema@.attached_statement(%1$s, TG_OP, '
        'TG_LEVEL, TG_RELID); END IF;', attachment);
    made   text;
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF s.on_error = 'warn' THEN  -- the user's statement is not to fail because of us
        body := format('BEGIN %s EXCEPTION WHEN OTHERS THEN '
                       'PERFORM @schema@.note_attached_problem(%s, SQLERRM, true); END;',
                       body, attachment);
    END IF;
    EXECUTE format('CREATE FUNCTION %s_changed() RETURNS trigger %s AS %L', called, head,
                   format('BEGIN %s RETURN NULL; END', body));
    EXECUTE format(
        'CREATE FUNCTION %s_sync(keys text[], OUT added bigint, OUT changed bigint, '
        'OUT removed bigint) %s AS %L', called, head, format(
        'DECLARE held text[]; items bigint[]; BEGIN '
        'EXECUTE @schema@.attached_statement(%1$s, ''keys'') INTO keys USING keys; '
        'EXECUTE @schema@.attached_statement(%1$s, ''lock rows'') INTO held USING keys; '
        'EXECUTE @schema@.attached_statement(%1$s, ''lock items'') INTO items USING keys; '
        'EXECUTE @schema@.attached_statement(%1$s, ''sync'') INTO added, changed, removed '
        'USING keys, coalesce(held, ''{}''), coalesce(items, ''{}''); END', attachment));
    EXECUTE format(
        'CREATE FUNCTION %s_compare() RETURNS SETOF text %s AS %L', called, head,
        format('BEGIN RETURN QUERY EXECUTE @schema@.attached_statement(%s, ''compare''); END',
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

CREATE OR REPLACE FUNCTION @schema@.make_attached_triggers(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s        record;
    called   text := format('pipeline_source_%s', attachment);
    function text := @schema@.attached_object(attachment, '_changed()');
    differs  text := format('pg_catalog.record_image_ne(%s, %s)',
        @schema@.attached_image(attachment, 'old'), @schema@.attached_image(attachment, 'new'));
    setting  text := format('pipeline.source_%s_changed', attachment);
    leaf     regclass;
BEGIN
    SELECT a.*, c.relkind, (SELECT string_agg(quote_ident(k), ', ')
        FROM jsonb_array_elements_text(a.definition -> 'key') AS k) AS keys INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.capture NOT IN ('statement', 'row') THEN
        RETURN;
    END IF;
    -- Never fires. It is how the columns of the key are found, whatever they are renamed to.
    EXECUTE format('CREATE TRIGGER %s_key AFTER UPDATE OF %s ON %s FOR EACH ROW WHEN (false) '
                   'EXECUTE FUNCTION %s', called, s.keys, s.relation, function);
    IF s.capture = 'row' THEN
        EXECUTE format('CREATE TRIGGER %s_written AFTER INSERT OR DELETE ON %s FOR EACH ROW '
                       'EXECUTE FUNCTION %s', called, s.relation, function);
        EXECUTE format('CREATE TRIGGER %s_update AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) '
                       'EXECUTE FUNCTION %s', called, s.relation, differs, function);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %s_written, '
                       'ENABLE ALWAYS TRIGGER %2$s_update', s.relation, called);
    ELSIF s.relkind = 'r' THEN
        -- Never fires either: it notes that a statement changed something of ours, while the rows
        -- are written, so that the trigger of other statements is not even called.
        EXECUTE format(
            'CREATE TRIGGER %s_noticed AFTER UPDATE ON %s FOR EACH ROW WHEN (CASE WHEN %s THEN '
            'pg_catalog.set_config(%L, ''on'', true) IS NULL ELSE false END) '
            'EXECUTE FUNCTION %s', called, s.relation, differs, setting, function);
    END IF;
    FOR leaf IN
        SELECT s.relation
        UNION SELECT p.relid FROM pg_partition_tree(s.relation) AS p
    LOOP
        PERFORM @schema@.make_statement_triggers(
            attachment, leaf, s.capture = 'statement', CASE WHEN s.relkind = 'r' THEN format(
                'WHEN (pg_catalog.current_setting(%L, true) OPERATOR(pg_catalog.=) ''on'')',
                setting) ELSE '' END);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_triggers(integer) IS
    'Makes the triggers of an attached source.';

CREATE OR REPLACE FUNCTION @schema@.make_statement_triggers(
    attachment integer, relation regclass, of_rows boolean, when_noticed text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    called   text := format('pipeline_source_%s', attachment);
    function text := @schema@.attached_object(attachment, '_changed()');
    event    text;
    tables   text;
BEGIN
    FOR event, tables IN
        SELECT * FROM (VALUES
            ('TRUNCATE', ''),
            ('INSERT', 'REFERENCING NEW TABLE AS new_rows'),
            ('UPDATE', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
            ('DELETE', 'REFERENCING OLD TABLE AS old_rows')) AS e (event, tables)
        WHERE of_rows OR e.event = 'TRUNCATE'
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER %s_%s AFTER %s ON %s %s FOR EACH STATEMENT %s '
                       'EXECUTE FUNCTION %s', called, lower(event), event, relation, tables,
                       CASE event WHEN 'UPDATE' THEN when_noticed END, function);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.make_statement_triggers(integer, regclass, boolean, text) IS
    'Makes the triggers of one table of an attached source.';

CREATE OR REPLACE FUNCTION @schema@.make_dependency_triggers(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    called text := @schema@.attached_object(attachment, '_touched()');
    other  regclass;
    event  text;
BEGIN
    FOR other IN
        SELECT o::regclass FROM @schema@.attached_sources AS s
        CROSS JOIN jsonb_array_elements_text(s.definition -> 'depends_on') AS o
        WHERE s.id = attachment AND s.capture IN ('statement', 'row')
    LOOP
        IF to_regprocedure(called) IS NULL THEN
            EXECUTE format(
                'CREATE FUNCTION %s RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
                'SET search_path = pg_catalog, pg_temp AS %L', called, format(
                'BEGIN PERFORM @schema@.note_attached_problem(%s, '
                'TG_TABLE_NAME || '' changed''); RETURN NULL; END', attachment));
            PERFORM @schema@.give_to_owner(attachment, 'FUNCTION', called);
        END IF;
        FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE,TRUNCATE}'::text[] LOOP
            EXECUTE format('CREATE TRIGGER pipeline_source_%s_touched%s AFTER %s ON %s '
                           'FOR EACH STATEMENT EXECUTE FUNCTION %s',
                           attachment, lower(event), event, other, called);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.make_dependency_triggers(integer) IS
    'Makes the triggers by which a change of another table leads to a sync.';

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
    IF octet_length(s.name) > 57 OR to_regclass(called) IS NOT NULL THEN
        RAISE EXCEPTION '% cannot be the name of a view of its items', called USING
            ERRCODE = 'duplicate_table', HINT = 'Give the source another name, of 57 bytes at most.';
    END IF;
    -- Only where the source is this one is the key of the key's type.
    SELECT string_agg(format('CASE WHEN s.source = ANY (%L) THEN %s END AS %I', s.sources,
               replace(k.of_text, 'a.row_key', 's.row_key'),
               CASE WHEN d.name = ANY ('{row_key,content,part,modality,content_ref,metadata,'
                   'embedding,item_id,source_id}') THEN 'row_' || d.name ELSE d.name END), ', '
               ORDER BY k.n)
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
    PERFORM @schema@.give_to_owner(attachment, 'VIEW', called);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_ingest') THEN
        EXECUTE format('GRANT SELECT ON %s TO pipeline_analyst, pipeline_ingest, pipeline_owner',
                       called);
    END IF;
    UPDATE @schema@.attached_sources AS a SET items_view = called::regclass WHERE a.id = attachment;
END $$;
COMMENT ON FUNCTION @schema@.make_attached_items_view(integer) IS
    'Makes the view of an attached source''s items, such as products_items.';
