-- The triggers that say which rows of an attached table changed.

CREATE OR REPLACE FUNCTION @schema@.attached_difference(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- A large value that an UPDATE does not set stays where it is, outside the row: that it is the
    -- same needs no reading of it. Said by PostgreSQL from 17 on.
    WITH used AS (
        SELECT quote_ident(a.attname) AS name, a.attlen = -1 AND a.attstorage <> 'p'
            AND to_regprocedure('pg_catalog.pg_column_toast_chunk_id("any")') IS NOT NULL AS is_large
        FROM @schema@.attached_sources AS s
        JOIN pg_attribute AS a ON a.attrelid = s.relation AND NOT a.attisdropped
            AND quote_ident(a.attname) = ANY (@schema@.attached_columns(attachment))
        WHERE s.id = attachment
    )
    SELECT coalesce(nullif(concat_ws(' OR ',
        (SELECT format('pg_catalog.record_image_ne(ROW(%s), ROW(%s))',
             string_agg('old.' || u.name, ', ' ORDER BY u.name),
             string_agg('new.' || u.name, ', ' ORDER BY u.name))
         FROM used AS u WHERE NOT u.is_large HAVING count(*) > 0),
        (SELECT string_agg(format('((pg_catalog.pg_column_toast_chunk_id(old.%1$s) '
             'OPERATOR(pg_catalog.=) pg_catalog.pg_column_toast_chunk_id(new.%1$s)) IS NOT TRUE '
             'AND pg_catalog.record_image_ne(ROW(old.%1$s), ROW(new.%1$s)))', u.name), ' OR '
             ORDER BY u.name)
         FROM used AS u WHERE u.is_large)), ''),
        format('pg_catalog.record_image_ne(%s, %s)', @schema@.attached_image(attachment, 'old'),
            @schema@.attached_image(attachment, 'new')))
$$;
COMMENT ON FUNCTION @schema@.attached_difference(integer) IS
    'The condition of a trigger that an UPDATE changed something that an attached source takes from '
    'the row.';

CREATE OR REPLACE FUNCTION @schema@.make_attached_triggers(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s        record;
    called   text := format('pipeline_source_%s', attachment);
    function text := @schema@.attached_object(attachment, '_changed()');
    differs  text := @schema@.attached_difference(attachment);
    setting  text := format('pipeline.source_%s_changed', attachment);
    -- Whoever writes calls it, so where logins may not, a statement is looked through instead.
    may_note boolean := has_function_privilege(
        'public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE');
    leaf     regclass;
BEGIN
    SELECT a.*, c.relkind, (SELECT string_agg(quote_ident(k), ', ')
        FROM jsonb_array_elements_text(a.definition -> 'key') AS k) AS keys INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.capture = 'scan' THEN
        RETURN;
    END IF;
    -- Never fires. It is how the columns of the key are found, whatever they are renamed to.
    EXECUTE format('CREATE TRIGGER %s_key AFTER UPDATE OF %s ON %s FOR EACH ROW WHEN (false) '
                   'EXECUTE FUNCTION %s', called, s.keys, s.relation, function);
    IF s.capture = 'logical' THEN
        RETURN;
    ELSIF s.capture = 'row' THEN
        EXECUTE format('CREATE TRIGGER %s_written AFTER INSERT OR DELETE ON %s FOR EACH ROW '
                       'EXECUTE FUNCTION %s', called, s.relation, function);
        EXECUTE format('CREATE TRIGGER %s_update AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) '
                       'EXECUTE FUNCTION %s', called, s.relation, differs, function);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %s_written, '
                       'ENABLE ALWAYS TRIGGER %2$s_update', s.relation, called);
    ELSIF s.relkind = 'r' AND may_note THEN
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
            attachment, leaf, s.capture = 'statement',
            CASE WHEN s.relkind = 'r' AND may_note THEN format(
                'WHEN (pg_catalog.current_setting(%L, true) OPERATOR(pg_catalog.=) ''on'')',
                setting) ELSE '' END);
        IF s.capture = 'row' THEN
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %s_truncate', leaf, called);
        END IF;
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

CREATE OR REPLACE FUNCTION @schema@.attached_tables(
    attachment integer, OUT relation regclass, OUT is_part boolean, OUT has_triggers boolean,
    OUT is_deaf boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.relid, bool_or(t.is_part), bool_or(t.has_trigger), bool_or(t.is_off)
    FROM @schema@.attached_sources AS s
    CROSS JOIN LATERAL (
        SELECT s.relation, true, false, false WHERE EXISTS (
            SELECT FROM pg_class AS c WHERE c.oid = s.relation)
        UNION ALL
        SELECT p.relid, true, false, false
        FROM pg_partition_tree(s.relation) AS p
        UNION ALL
        SELECT t.tgrelid, false, t.tgname = format('pipeline_source_%s_truncate', s.id),
            t.tgenabled = 'D'
        FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE t.tgname ~ format('^pipeline_source_%s_[a-z]+$', s.id)
          AND p.proname = format('pipeline_source_%s_changed', s.id)
    ) AS t (relid, is_part, has_trigger, is_off)
    WHERE s.id = attachment AND s.capture IN ('statement', 'row')
    GROUP BY t.relid
$$;
COMMENT ON FUNCTION @schema@.attached_tables(integer) IS
    'The tables that are parts of an attached one, itself among them, or have its triggers.';

CREATE OR REPLACE FUNCTION @schema@.attached_triggers_problem(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN count(*) FILTER (WHERE t.is_part AND NOT t.has_triggers) > 0
        THEN format('no trigger sees what is written into %s', string_agg(t.relation::text, ', ')
            FILTER (WHERE t.is_part AND NOT t.has_triggers))
        WHEN count(*) FILTER (WHERE NOT t.is_part) > 0
        THEN format('%s is not a part of it any more', string_agg(t.relation::text, ', ')
            FILTER (WHERE NOT t.is_part))
        WHEN count(*) FILTER (WHERE t.is_deaf) > 0
        THEN format('triggers of %s are disabled', string_agg(t.relation::text, ', ')
            FILTER (WHERE t.is_deaf)) END
    FROM @schema@.attached_tables(attachment) AS t
$$;
COMMENT ON FUNCTION @schema@.attached_triggers_problem(integer) IS
    'What keeps the triggers of an attached source from seeing all that is written; null: nothing.';

CREATE OR REPLACE FUNCTION @schema@.renew_attached_triggers(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part    record;
    s       record;
    trigger record;
BEGIN
    PERFORM @schema@.note_attached_standing(attachment);
    PERFORM @schema@.make_dependency_triggers(attachment);
    SELECT a.capture, c.relkind INTO s FROM @schema@.attached_sources AS a
    JOIN pg_class AS c ON c.oid = a.relation WHERE a.id = attachment;
    FOR part IN SELECT * FROM @schema@.attached_tables(attachment) AS t
                WHERE s.relkind = 'p' AND t.is_part IS DISTINCT FROM t.has_triggers
    LOOP
        PERFORM @schema@.lock_together(ARRAY[part.relation],
            CASE WHEN part.is_part THEN 'SHARE ROW EXCLUSIVE' ELSE 'ACCESS EXCLUSIVE' END);
        IF part.is_part THEN
            PERFORM @schema@.make_statement_triggers(
                attachment, part.relation, s.capture = 'statement', '');
            IF s.capture = 'row' THEN
                EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER pipeline_source_%s_truncate',
                    part.relation, attachment);
            END IF;
            CONTINUE;
        END IF;
        FOR trigger IN
            SELECT t.tgname FROM pg_trigger AS t WHERE t.tgrelid = part.relation
              AND t.tgname ~ format('^pipeline_source_%s_[a-z]+$', attachment) AND t.tgparentid = 0
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, part.relation);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.renew_attached_triggers(integer) IS
    'Makes the triggers of partitions that came, and drops those of partitions that went.';

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
        -- A statement that names a partition fires none of the whole table's.
        SELECT p.relid FROM @schema@.attached_sources AS s
        CROSS JOIN @schema@.attached_depends_on(attachment) AS o
        CROSS JOIN LATERAL (SELECT o UNION SELECT t.relid FROM pg_partition_tree(o) AS t)
            AS p (relid)
        -- What became another's is not ours to change, nor to wait for.
        JOIN pg_class AS c ON c.oid = p.relid AND pg_has_role(c.relowner, 'USAGE')
        WHERE s.id = attachment AND s.capture <> 'scan' AND NOT EXISTS (
            SELECT FROM pg_trigger AS t WHERE t.tgrelid = p.relid
              AND t.tgname = format('pipeline_source_%s_touchedinsert', attachment))
        ORDER BY p.relid
    LOOP
        PERFORM @schema@.lock_together(ARRAY[other], 'SHARE ROW EXCLUSIVE');
        IF to_regprocedure(called) IS NULL THEN
            EXECUTE format(
                'CREATE FUNCTION %s RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
                'SET search_path = pg_catalog, pg_temp AS %L', called, format(
                'BEGIN BEGIN PERFORM @schema@.note_attached_problem(%1$s, '
                'TG_TABLE_NAME || '' changed''); EXCEPTION WHEN OTHERS THEN '
                'RAISE WARNING ''the items of attached source %1$s do not follow: %%'', SQLERRM; '
                'END; RETURN NULL; END', attachment));
            PERFORM @schema@.take_from_others('FUNCTION', called);
        END IF;
        FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE,TRUNCATE}'::text[] LOOP
            EXECUTE format('CREATE TRIGGER pipeline_source_%s_touched%s AFTER %s ON %s '
                           'FOR EACH STATEMENT EXECUTE FUNCTION %s',
                           attachment, lower(event), event, other, called);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.make_dependency_triggers(integer) IS
    'Makes the triggers that are missing by which a change of another table leads to a sync.';
