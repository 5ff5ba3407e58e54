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
        'IF TG_LEVEL = ''ROW'' THEN EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL) '
        'USING NEW, OLD; ELSE EXECUTE @schema@.attached_statement(%1$s, TG_OP, TG_LEVEL); END IF;',
        attachment);
    made   text;
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF s.on_error = 'warn' THEN  -- the user's statement is not to fail because of us
        body := format('BEGIN %s EXCEPTION WHEN OTHERS THEN '
                       'PERFORM @schema@.note_attached_problem(%s, SQLERRM, true); END;',
                       body, attachment);
    END IF;
    EXECUTE format('CREATE FUNCTION %s_changed() RETURNS trigger %s AS %L', called, head,
                   format('BEGIN IF @schema@.is_attached(%s, TG_RELID) THEN %s END IF; '
                          'RETURN NULL; END', attachment, body));
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
