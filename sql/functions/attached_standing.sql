-- What became of an attached table since it was attached, of which no trigger tells.

CREATE OR REPLACE FUNCTION @schema@.attached_row_security(attachment integer)
RETURNS TABLE (problem text, cure text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Items are read by whoever may read items; the policies of the table are not theirs. Those over
    -- columns can be given to the items as well; of a function of the row nobody knows what it reads.
    WITH tables AS (
        SELECT b.oid, CASE WHEN s.definition ->> 'metadata' ~ '^[[:space:]]*[{]'
            THEN (s.definition ->> 'metadata')::text[] END AS metadata
        FROM @schema@.attached_sources AS s CROSS JOIN @schema@.views_beneath(s.view) AS b (oid)
        JOIN pg_class AS c ON c.oid = b.oid AND c.relrowsecurity
        WHERE s.id = attachment
    ), found AS (
        SELECT t.oid, t.metadata,
            (SELECT string_agg(DISTINCT quote_ident(a.attname), ',')
             FROM pg_policy AS p
             JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
             JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
                 AND a.attnum > 0
             WHERE p.polrelid = t.oid AND (a.attname = ANY (t.metadata)) IS NOT TRUE) AS lacking,
            (SELECT min(p.polname) FROM pg_policy AS p
             WHERE p.polrelid = t.oid AND concat(p.polqual, p.polwithcheck)
                 ~ ':varno 1 :varattno 0 ') AS of_row
        FROM tables AS t
    )
    SELECT format('%s has row-level security, which its items do not have', f.oid::regclass),
        CASE WHEN f.of_row IS NOT NULL THEN format('The policy %I takes the row as a whole, so that '
            'nothing says what the items would need: attach a table of what everybody may see.',
            f.of_row)
        ELSE format('Give them what its policies ask for, metadata => ''{%s}'', and '
            'the tables of the items policies over that.', f.lacking) END
    FROM found AS f WHERE f.lacking IS NOT NULL OR f.of_row IS NOT NULL OR f.metadata IS NULL
    ORDER BY 1
$$;
COMMENT ON FUNCTION @schema@.attached_row_security(integer) IS
    'The tables of an attached source that have row-level security which its items cannot have.';

CREATE OR REPLACE FUNCTION @schema@.attached_owner_problem(attachment integer)
RETURNS TABLE (problem text, statements text, old_owner text, new_owner text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- What runs as its old owner is not given to the new one: who could change it could then act as
    -- that role.
    WITH made AS (
        SELECT c.relowner AS owner, c.oid::regclass::text AS view, NULL AS function
        FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid IN (s.view, s.items_view)
        WHERE s.id = attachment
        UNION ALL
        SELECT p.proowner, NULL, t.tgfoid::regprocedure::text
        FROM @schema@.attached_sources AS s JOIN pg_trigger AS t ON t.tgrelid = ANY (
            s.relation || ARRAY(SELECT o FROM @schema@.attached_depends_on(s.id) AS o))
            AND t.tgname ~ format('^pipeline_source_%s_[a-z]+$', s.id)
        JOIN pg_proc AS p ON p.oid = t.tgfoid WHERE s.id = attachment
    )
    SELECT format('%s belongs to %s now, and what was made to follow it to %s', s.relation,
            c.relowner::regrole, string_agg(DISTINCT m.owner::regrole::text, ', ')),
        concat('DROP VIEW ' || string_agg(DISTINCT m.view, ', ') || '; ',
            'DROP FUNCTION ' || string_agg(DISTINCT m.function, ', ') || ' CASCADE; '),
        string_agg(DISTINCT m.owner::regrole::text, ', '), c.relowner::regrole::text
    FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation
    JOIN made AS m ON m.owner <> c.relowner
    WHERE s.id = attachment GROUP BY s.relation, c.relowner
$$;
COMMENT ON FUNCTION @schema@.attached_owner_problem(integer) IS
    'Whether an attached table has another owner than what was made for it, and the statements that '
    'drop that.';

CREATE OR REPLACE FUNCTION @schema@.attached_parts(attachment integer) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(p.relid::regclass::text ORDER BY p.relid::regclass::text)
    FROM @schema@.attached_sources AS s CROSS JOIN LATERAL pg_partition_tree(s.relation) AS p
    WHERE s.id = attachment AND p.isleaf
      AND s.relation IN (SELECT t.partrelid FROM pg_partitioned_table AS t)
$$;
COMMENT ON FUNCTION @schema@.attached_parts(integer) IS
    'The partitions of an attached table that hold rows.';

CREATE OR REPLACE FUNCTION @schema@.note_attached_parts(attachment integer) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE @schema@.attached_sources AS s
    SET definition = s.definition || jsonb_build_object('parts', p.parts)
    FROM @schema@.attached_parts(attachment) AS p (parts)
    WHERE s.id = attachment AND p.parts IS NOT NULL
      AND s.definition -> 'parts' IS DISTINCT FROM to_jsonb(p.parts)
$$;
COMMENT ON FUNCTION @schema@.note_attached_parts(integer) IS
    'Notes which partitions an attached table has, so that it is seen when one is dropped.';

CREATE OR REPLACE FUNCTION @schema@.has_its_key(attachment integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Of a view, and of what has no trigger that names its columns, nothing is known.
    WITH key AS (
        SELECT s.relation, array_agg(c.attnum) AS columns, bool_and(c.attnotnull) AS is_not_null
        FROM @schema@.attached_sources AS s CROSS JOIN @schema@.attached_key(s.id) AS k
        JOIN pg_attribute AS c ON c.attrelid = s.relation AND quote_ident(c.attname) = k.name
        WHERE s.id = attachment
        GROUP BY s.relation
    )
    SELECT coalesce((
        SELECT k.is_not_null AND EXISTS (
            SELECT FROM pg_index AS i
            WHERE i.indrelid = k.relation AND i.indisunique AND i.indisvalid
              AND i.indpred IS NULL AND i.indexprs IS NULL
              AND (string_to_array(i.indkey::text, ' ')::smallint[])[1:i.indnkeyatts] <@ k.columns)
        FROM key AS k JOIN pg_class AS c ON c.oid = k.relation AND c.relkind IN ('r', 'p')
    ), true)
$$;
COMMENT ON FUNCTION @schema@.has_its_key(integer) IS
    'Whether the key of an attached table still tells all its rows apart.';

CREATE OR REPLACE FUNCTION @schema@.attached_standing(attachment integer)
RETURNS TABLE (problem text, cure text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s is gone, as DROP ... CASCADE takes it along', v.called),
        format('pipeline detach %s --keep-items, and attach it again', s.name)
    FROM @schema@.attached_sources AS s
    JOIN pg_class AS c ON c.oid = s.relation
    CROSS JOIN LATERAL (VALUES (s.view, 'the view that it is made by'),
        (s.items_view, format('its view %I', s.name || '_items'))) AS v (oid, called)
    WHERE s.id = attachment AND v.oid IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_class AS a WHERE a.oid = v.oid)
    UNION ALL
    SELECT format('nothing keeps %s apart any more: no unique index is over that alone, or it may '
            'be null', string_agg(k.name, ', ' ORDER BY k.n)),
        format('ALTER TABLE %s ADD PRIMARY KEY (%s); and until then not all of its rows are '
            'followed', s.relation, string_agg(k.name, ', ' ORDER BY k.n))
    FROM @schema@.attached_sources AS s CROSS JOIN @schema@.attached_key(s.id) AS k
    WHERE s.id = attachment AND NOT @schema@.has_its_key(s.id) GROUP BY s.relation
    UNION ALL
    SELECT format('%s, on which it depends, is gone', string_agg(o, ', ')),
        format('pipeline detach %s --keep-items, and attach it again', s.name)
    FROM @schema@.attached_sources AS s
    CROSS JOIN jsonb_array_elements_text(s.definition -> 'depends_on') AS o
    WHERE s.id = attachment AND to_regclass(o) IS NULL
      -- One that was renamed is there, and has its triggers.
      AND (SELECT count(*) FROM @schema@.attached_depends_on(attachment))
          < jsonb_array_length(s.definition -> 'depends_on')
    GROUP BY s.id, s.name
    UNION ALL
    SELECT o.problem, format('As %s or a superuser: %sthen as %s: pipeline detach %s --keep-items, '
        'and attach it again', o.old_owner, o.statements, o.new_owner, s.name)
    FROM @schema@.attached_owner_problem(attachment) AS o, @schema@.attached_sources AS s
    WHERE s.id = attachment
    UNION ALL
    SELECT r.problem, r.cure FROM @schema@.attached_row_security(attachment) AS r
    UNION ALL
    SELECT format('%s is not a part of it any more', string_agg(p, ', ')), NULL
    FROM @schema@.attached_sources AS s
    CROSS JOIN jsonb_array_elements_text(s.definition -> 'parts') AS p
    WHERE s.id = attachment AND p <> ALL (@schema@.attached_parts(attachment))
    HAVING count(*) > 0
    UNION ALL
    SELECT format('%s inherits from it, and no trigger sees what is written there',
            string_agg(i.inhrelid::regclass::text, ', ')),
        'Make it a partition, or detach and attach a view of it, which is scanned.'
    FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation
        AND c.relkind = 'r'
    JOIN pg_inherits AS i ON i.inhparent = s.relation
    WHERE s.id = attachment AND s.capture <> 'scan' HAVING count(*) > 0
$$;
COMMENT ON FUNCTION @schema@.attached_standing(integer) IS
    'What became of an attached table that keeps it from being followed, or its items from being '
    'as private as its rows, and what to do; without that a sync is the cure.';

CREATE OR REPLACE FUNCTION @schema@.doubled_keys(attachment integer) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       record;
    columns text;
    doubled bigint;
    without bigint;
BEGIN
    SELECT a.relation, a.name, a.definition -> 'key' AS key, c.relkind INTO s
    FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.relkind IN ('r', 'p') THEN
        RETURN NULL;  -- its index has none
    END IF;
    columns := (SELECT string_agg(quote_ident(k), ', ') FROM jsonb_array_elements_text(s.key) AS k);
    EXECUTE format(
        'SELECT coalesce(sum(k.rows) FILTER (WHERE k.has_key AND k.rows > 1), 0), '
        'coalesce(sum(k.rows) FILTER (WHERE NOT k.has_key), 0) FROM (SELECT count(*) AS rows, '
        'num_nulls(%1$s) = 0 AS has_key FROM %2$s GROUP BY %1$s '
        'HAVING count(*) > 1 OR num_nulls(%1$s) > 0) AS k', columns, s.relation)
        INTO doubled, without;
    RETURN nullif(concat_ws('; ',
        CASE WHEN doubled > 0 THEN format('%s rows of %s have the key of another row as well, and '
            'only one of each is followed', doubled, s.name) END,
        CASE WHEN without > 0 THEN format('%s rows of %s have no key, and are not followed',
            without, s.name) END), '');
END $$;
COMMENT ON FUNCTION @schema@.doubled_keys(integer) IS
    'How many rows of an attached view share their key with others or have none, told; or null.';

CREATE OR REPLACE FUNCTION @schema@.note_attached_standing(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found   record;
    doubled text := @schema@.doubled_keys(attachment);
BEGIN
    FOR found IN SELECT * FROM @schema@.attached_standing(attachment) AS s WHERE s.cure IS NOT NULL
    LOOP
        RAISE WARNING '%', found.problem USING ERRCODE = '01R18', HINT = found.cure;
    END LOOP;
    IF doubled IS NOT NULL THEN
        RAISE WARNING '%', doubled USING ERRCODE = '01R18',
            HINT = 'Attach it with a key that tells all its rows apart.';
        PERFORM @schema@.note_attached_problem(attachment, doubled);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.note_attached_standing(integer) IS
    'Warns of what a sync of an attached source does not mend, and notes rows without a key of '
    'their own.';
