-- The statements that an attached source runs: in its triggers, and to be synced.
--
-- They are put together as they run, by the numbers of the columns, so that one that was renamed is
-- found. What the user wrote, expressions and a filter, stands in the view alone, which holds it
-- parsed. All of them run in functions that belong to the table's owner.

CREATE OR REPLACE FUNCTION @schema@.equality_operator(type oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- That of the type's own B-tree; what has none is compared by one of PostgreSQL's.
    SELECT coalesce((
        SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
        FROM pg_opclass AS c
        JOIN pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
            AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
        JOIN pg_operator AS o ON o.oid = m.amopopr
        JOIN pg_namespace AS n ON n.oid = o.oprnamespace
        WHERE c.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree') AND c.opcdefault
          AND c.opcintype = coalesce(
              (SELECT nullif(t.typbasetype, 0) FROM pg_type AS t WHERE t.oid = type), type)
    ), 'OPERATOR(pg_catalog.=)')
$$;
COMMENT ON FUNCTION @schema@.equality_operator(oid) IS
    'The operator that says whether two values of this type are equal, with its schema.';

CREATE OR REPLACE FUNCTION @schema@.attached_row_key(keys text[]) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- Of one column its text, of several a JSON array.
RETURN CASE cardinality(keys) WHEN 1 THEN format('(%s)::pg_catalog.text', keys[1])
    ELSE format('pg_catalog.jsonb_build_array(%s)::pg_catalog.text',
        array_to_string(keys, ', ')) END;
COMMENT ON FUNCTION @schema@.attached_row_key(text[]) IS
    'The expression of source_items.row_key, over the expressions of the key''s columns.';

CREATE OR REPLACE FUNCTION @schema@.attached_key(
    attachment integer,
    OUT n bigint, OUT name text, OUT type text, OUT equals text, OUT of_text text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.n,
        -- In the table: the trigger "_key" is there to name it, whatever it is renamed to.
        (SELECT quote_ident(c.attname)
         FROM pg_trigger AS t
         CROSS JOIN unnest(t.tgattr) WITH ORDINALITY AS of_table (attnum, n)
         JOIN pg_attribute AS c ON c.attrelid = t.tgrelid AND c.attnum = of_table.attnum
         WHERE t.tgrelid = s.relation AND t.tgname = format('pipeline_source_%s_key', s.id)
           AND of_table.n = k.n),
        format_type(k.atttypid, k.atttypmod),
        @schema@.equality_operator(k.atttypid),
        format(CASE count(*) OVER () WHEN 1 THEN '(a.row_key)::%2$s'
                    ELSE '(a.row_key::jsonb ->> %1$s)::%2$s' END,
            k.n - 1, format_type(k.atttypid, k.atttypmod))
    FROM @schema@.attached_sources AS s
    CROSS JOIN LATERAL (
        SELECT c.atttypid, c.atttypmod, row_number() OVER (ORDER BY c.attnum) AS n
        FROM pg_attribute AS c WHERE c.attrelid = s.view AND c.attname ~ '^key_[0-9]+$'
    ) AS k
    WHERE s.id = attachment
$$;
COMMENT ON FUNCTION @schema@.attached_key(integer) IS
    'The columns of an attached source''s key: their names in the table, types, operators, and how '
    'each is read from a row_key. In the view they are key_1, key_2 ...';

CREATE OR REPLACE FUNCTION @schema@.attached_columns(attachment integer) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Null where an expression takes the row as a whole, as to_jsonb(products) does; or a column that
    -- is made of others as it is read, which the transition tables do not have.
    SELECT CASE WHEN pg_get_viewdef(s.view) !~ '[.][*]' AND NOT bool_or(a.attgenerated = 'v')
        THEN array_agg(DISTINCT quote_ident(a.attname)) END
    FROM @schema@.attached_sources AS s
    JOIN pg_rewrite AS r ON r.ev_class = s.view
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.relation AND d.refobjsubid > 0
    JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum = d.refobjsubid
    WHERE s.id = attachment
    GROUP BY s.id
$$;
COMMENT ON FUNCTION @schema@.attached_columns(integer) IS
    'The columns that an attached source is made of, its key among them; null: all of them.';

CREATE OR REPLACE FUNCTION @schema@.attached_statement(
    attachment integer, purpose text, level text DEFAULT NULL, rows text[] DEFAULT '{($1),($2)}')
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s        record;
    keys     record;
    key_is   text;  -- of "a.key_1 = b.key_1 AND ...", over two aliases
    changed  text;
    put      text;
    event    text := regexp_replace(purpose, '^keys of ', '');
    compared text := '(%1$s.row_key, %1$s.modality, %1$s.content_ref, %1$s.metadata)';
BEGIN
    SELECT a.*, c.relkind IN ('r', 'p') AND a.capture <> 'scan' AS can_be_locked,
           EXISTS (SELECT FROM pg_class AS v WHERE v.oid = a.view) AS has_view INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s IS NULL THEN
        RAISE EXCEPTION 'there is no attached source %', attachment USING
            ERRCODE = 'no_data_found', HINT = 'SELECT * FROM attached_source_status;';
    ELSIF NOT s.has_view THEN
        RAISE EXCEPTION 'the view that % is made by is gone, as DROP ... CASCADE takes it along',
            s.name USING ERRCODE = 'invalid_object_definition',
            HINT = format('pipeline detach %s --keep-items, and attach it again', s.name);
    ELSIF row_security_active(s.relation) THEN
        RAISE EXCEPTION 'row-level security hides rows of % from its owner', s.relation USING
            ERRCODE = 'feature_not_supported',
            HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', s.relation);
    END IF;
    SELECT array_agg(k.name ORDER BY k.n) AS names,
           array_agg('key_' || k.n ORDER BY k.n) AS columns,
           string_agg(k.of_text || ' AS key_' || k.n, ', ' ORDER BY k.n) AS of_text,
           -- Both are formats of two aliases: a percent sign of a name is none of theirs.
           string_agg(format('%%1$s.key_%s %s %%2$s.key_%1$s', k.n, replace(k.equals, '%', '%%')),
                      ' AND ' ORDER BY k.n) AS in_view,
           string_agg(format(' AND v.key_%s %s ANY (ARRAY(SELECT a.key_%1$s FROM asked AS a '
               'WHERE a.is_held))', k.n, k.equals), '' ORDER BY k.n) AS only_asked,
           string_agg(format('%%1$s.%s %s %%2$s.key_%s', replace(k.name, '%', '%%'),
                             replace(k.equals, '%', '%%'), k.n), ' AND '
                      ORDER BY k.n) AS in_table,
           string_agg(format('o.%s %s n.%1$s', k.name, k.equals), ' AND '
                      ORDER BY k.n) AS old_and_new
    INTO keys FROM @schema@.attached_key(attachment) AS k;

    put := format(
        'INSERT INTO @schema@.source_items AS s '
        '(source, source_key, row_key, modality, content_ref, metadata) '
        'SELECT v.source, v.source_key, v.row_key, v.modality, v.content_ref, v.metadata '
        'FROM shown AS v %%s ORDER BY v.source, v.source_key '
        'ON CONFLICT (source, source_key) DO UPDATE SET row_key = excluded.row_key, '
        'modality = excluded.modality, content_ref = excluded.content_ref, '
        'metadata = excluded.metadata WHERE %s IS DISTINCT FROM %s',
        format(compared, 's'), format(compared, 'excluded'));

    IF purpose = 'compare' THEN
        RETURN format(
            'SELECT DISTINCT coalesce(v.row_key, i.row_key) FROM %s AS v FULL JOIN ('
            'SELECT * FROM @schema@.source_items WHERE source = ANY (%L)) AS i '
            'ON v.source = i.source AND v.source_key = i.source_key WHERE %s IS DISTINCT FROM %s',
            s.view, s.sources, format(compared, 'v'), format(compared, 'i'));
    ELSIF purpose = 'keys' THEN
        -- However somebody wrote them, and each once.
        RETURN format('SELECT array_agg(DISTINCT %s) FROM (SELECT %s FROM unnest($1) AS a (row_key) '
            'WHERE a.row_key IS NOT NULL) AS k',
            @schema@.attached_row_key((SELECT array_agg('k.' || u ORDER BY n)
                FROM unnest(keys.columns) WITH ORDINALITY AS c (u, n))), keys.of_text);
    ELSIF purpose = 'lock rows' THEN
        -- Rows that others hold are left to them: their own triggers see to it, or the next sync.
        IF NOT s.can_be_locked THEN
            RETURN 'SELECT $1';
        END IF;
        RETURN format(
            'SELECT array_agg(l.row_key) FROM (SELECT a.row_key FROM (SELECT a.row_key, %s '
            'FROM unnest($1) AS a (row_key)) AS a JOIN %s AS t ON %s FOR SHARE OF t SKIP LOCKED) '
            'AS l', keys.of_text, s.relation, format(keys.in_table, 't', 'a'));
    ELSIF purpose = 'lock items' THEN
        RETURN format(
            'SELECT array_agg(l.id) FROM (SELECT i.id FROM @schema@.source_items AS i '
            -- Or its source_key says so: somebody gave it the row_key of another.
            'WHERE i.source = ANY (%1$L) AND i.row_key = ANY ($1) '
            'OR i.source = ANY (%1$L) AND i.source_key = ANY ($1) '
            'ORDER BY i.source, i.source_key FOR UPDATE SKIP LOCKED) AS l', s.sources);
    ELSIF purpose = 'left out' THEN
        -- Those that are there and were not locked, and those with items that were not.
        RETURN format(
            '%sSELECT i.row_key FROM @schema@.source_items AS i WHERE i.source = ANY (%L) '
            'AND i.row_key = ANY ($1) AND i.id <> ALL ($3)) AS l (row_key)',
            CASE WHEN s.can_be_locked THEN format(
                'SELECT count(*) FROM (SELECT a.row_key FROM (SELECT a.row_key, %s FROM unnest($1) '
                'AS a (row_key) WHERE a.row_key <> ALL ($2)) AS a JOIN %s AS t ON %s UNION ',
                keys.of_text, s.relation, format(keys.in_table, 't', 'a'))
                ELSE 'SELECT count(DISTINCT l.row_key) FROM (' END, s.sources);
    ELSIF purpose IN ('sync', 'sync each') THEN
        RETURN format(
            'WITH asked AS MATERIALIZED (SELECT a.row_key, %1$s, '
            'a.row_key = ANY ($2) AS is_held FROM unnest($1) AS a (row_key)), '
            'shown AS MATERIALIZED (SELECT DISTINCT ON (v.source, v.source_key) v.* FROM '
            '(SELECT DISTINCT %2$s FROM asked WHERE is_held) AS a JOIN %3$s AS v ON %4$s%7$s '
            'ORDER BY v.source, v.source_key), '
            'gone AS (DELETE FROM @schema@.source_items AS i USING asked AS a '
            'WHERE i.id = ANY ($3) AND i.row_key = a.row_key '
            'AND (a.is_held%5$s) AND NOT EXISTS (SELECT FROM shown AS v '
            'WHERE v.source = i.source AND v.source_key = i.source_key) RETURNING 1), '
            'put AS (%6$s RETURNING xmax = 0 AS is_new) '
            'SELECT (SELECT count(*) FROM put WHERE is_new), '
            '(SELECT count(*) FROM put WHERE NOT is_new), (SELECT count(*) FROM gone), '
            'NULL::text[]',
            keys.of_text, array_to_string(keys.columns, ', '), s.view,
            format(keys.in_view, 'v', 'a'),
            CASE WHEN s.can_be_locked THEN format(
                ' OR NOT EXISTS (SELECT FROM %s AS t WHERE %s)', s.relation,
                format(keys.in_table, 't', 'a')) END,
            -- An item that others hold is left to them as well.
            format(put, 'WHERE NOT EXISTS (SELECT FROM @schema@.source_items AS i '
                'WHERE i.source = v.source AND i.source_key = v.source_key '
                'AND NOT i.id = ANY ($3))'),
            -- As a condition of the table's own, not to be met by a join after its other rows.
            CASE purpose WHEN 'sync each' THEN keys.only_asked END);
    ELSIF purpose = 'TRUNCATE' THEN
        -- Of a partition only its own rows went.
        RETURN format(
            'DELETE FROM @schema@.source_items AS i WHERE i.source = ANY (%L) AND NOT EXISTS ('
            'SELECT FROM %s AS v WHERE v.source = i.source AND v.source_key = i.source_key)',
            s.sources, s.view);
    END IF;

    changed := CASE
        WHEN level = 'ROW' THEN (
            SELECT string_agg('SELECT ' || k.columns, ' UNION ALL ')
            FROM (VALUES ('DELETE', rows[1]), ('INSERT', rows[2])) AS r (without, called)
            CROSS JOIN LATERAL (
                SELECT string_agg(format('%s.%s AS key_%s', r.called, u.name, u.n), ', '
                                  ORDER BY u.n) AS columns
                FROM unnest(keys.names) WITH ORDINALITY AS u (name, n)
            ) AS k WHERE r.without <> event)
        -- Old keys and new ones by two scans: of both from one row the planner would expect two
        -- different ones in all, and join them with everything row by row.
        WHEN event = 'UPDATE' THEN format(
            'WITH pairs AS MATERIALIZED (SELECT %s FROM old_rows AS o FULL JOIN new_rows AS n ON %s '
            'WHERE o.%s IS NULL OR n.%3$s IS NULL OR record_image_ne(%s, %s)) '
            'SELECT %s FROM pairs AS p WHERE p.old_1 IS NOT NULL UNION ALL '
            'SELECT %s FROM pairs AS p WHERE p.new_1 IS NOT NULL',
            (SELECT string_agg(format('o.%1$s AS old_%2$s, n.%1$s AS new_%2$s', u.name, u.n), ', ')
             FROM unnest(keys.names) WITH ORDINALITY AS u (name, n)),
            keys.old_and_new, keys.names[1],
            @schema@.attached_image(attachment, 'o'), @schema@.attached_image(attachment, 'n'),
            (SELECT string_agg(format('p.old_%1$s AS key_%1$s', n), ', ' ORDER BY n)
             FROM generate_series(1, cardinality(keys.names)) AS n),
            (SELECT string_agg(format('p.new_%1$s AS key_%1$s', n), ', ' ORDER BY n)
             FROM generate_series(1, cardinality(keys.names)) AS n))
        ELSE format('SELECT %s FROM %s AS r', (
            SELECT string_agg(format('r.%s AS key_%s', u.name, u.n), ', ' ORDER BY u.n)
            FROM unnest(keys.names) WITH ORDINALITY AS u (name, n)),
            CASE event WHEN 'DELETE' THEN 'old_rows' ELSE 'new_rows' END)
        END;
    IF event <> purpose THEN
        -- Few enough to be looked at one by one while somebody waits.
        RETURN format(
            'SELECT CASE WHEN count(*) <= 1000 THEN array_agg(c.row_key) END FROM '
            '(SELECT DISTINCT %s AS row_key FROM (%s) AS k LIMIT 1001) AS c',
            @schema@.attached_row_key((SELECT array_agg('k.' || u ORDER BY n)
                FROM unnest(keys.columns) WITH ORDINALITY AS c (u, n))), changed);
    END IF;
    RETURN format(
        'WITH changed AS MATERIALIZED (SELECT DISTINCT c.* FROM '
        '(SELECT %1$s AS row_key, k.* FROM (%2$s) AS k) AS c), '
        'shown AS MATERIALIZED (SELECT DISTINCT ON (v.source, v.source_key) v.* FROM '
        '(SELECT DISTINCT %3$s FROM changed) AS a JOIN %4$s AS v ON %5$s '
        'ORDER BY v.source, v.source_key)%6$s %7$s',
        @schema@.attached_row_key((SELECT array_agg('k.' || u ORDER BY n)
            FROM unnest(keys.columns) WITH ORDINALITY AS c (u, n))),
        changed, array_to_string(keys.columns, ', '), s.view, format(keys.in_view, 'v', 'a'),
        CASE WHEN purpose <> 'INSERT' THEN format(
            ', gone AS MATERIALIZED (SELECT i.id FROM (SELECT DISTINCT row_key FROM changed) AS c '
            'JOIN @schema@.source_items AS i ON i.source = ANY (%L) AND i.row_key = c.row_key '
            'WHERE NOT EXISTS (SELECT FROM shown AS v WHERE v.source = i.source '
            'AND v.source_key = i.source_key) ORDER BY i.source, i.source_key FOR UPDATE OF i), '
            'deleted AS (DELETE FROM @schema@.source_items AS i USING gone WHERE i.id = gone.id)',
            s.sources) END,
        format(put, ''));
END $$;
COMMENT ON FUNCTION @schema@.attached_statement(integer, text, text, text[]) IS
    'The statement of an attached source for a purpose: the event of a trigger, or a step of its '
    'sync. How it calls the new and the old row is said for a trigger of rows.';

CREATE OR REPLACE FUNCTION @schema@.attached_image(attachment integer, alias text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
-- Rows are compared byte by byte: json, xml and point have no operator for it, and what a collation
-- takes to be equal is another text all the same.
RETURN coalesce((SELECT format('ROW(%s)', string_agg(format('%s.%s', alias, u), ', ' ORDER BY u))
                 FROM unnest(@schema@.attached_columns(attachment)) AS u HAVING count(*) > 0),
                alias || '.*');  -- as one, with columns that are yet to come
COMMENT ON FUNCTION @schema@.attached_image(integer, text) IS
    'The expression of all that an attached source takes from a row.';
