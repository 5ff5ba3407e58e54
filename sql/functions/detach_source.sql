CREATE OR REPLACE FUNCTION @schema@.release_source_items(sources text[], keep_items boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    released bigint;
BEGIN
    IF keep_items THEN
        -- With the keys of their rows, by which they are taken up again when it is attached again.
        RETURN (SELECT count(*) FROM @schema@.source_items AS i WHERE i.source = ANY (sources));
    END IF;
    DELETE FROM @schema@.source_items AS i WHERE i.source = ANY (sources);
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;
COMMENT ON FUNCTION @schema@.release_source_items(text[], boolean) IS
    'Removes the source items of these sources, or has them stay as nobody''s.';

CREATE OR REPLACE FUNCTION @schema@.functions_made_for(attachment integer) RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Those that are the caller's to drop: anybody may make one of such a name.
    SELECT p.oid FROM @schema@.attached_sources AS s
    JOIN pg_proc AS p ON p.proname IN (format('pipeline_source_%s_changed', s.id),
        format('pipeline_source_%s_touched', s.id)) AND position('@schema@.' IN p.prosrc) > 0
    WHERE s.id = attachment AND pg_has_role(p.proowner, 'USAGE')
$$;
COMMENT ON FUNCTION @schema@.functions_made_for(integer) IS
    'The functions that were made for an attached source.';

CREATE OR REPLACE FUNCTION @schema@.detach_source(name text, keep_items boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    attachment integer := @schema@.attached_source(name);
    s          record;
    made       record;
    gone       bigint;
    functions  oid[];
    of_another record;
BEGIN
    SELECT a.*, c.relkind, pg_get_userbyid(c.relowner) AS owner INTO s
    FROM @schema@.attached_sources AS a LEFT JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.owner IS NOT NULL THEN
        IF NOT pg_has_role(s.owner, 'USAGE') THEN
            RAISE EXCEPTION 'only % may detach %', s.owner, name USING
                ERRCODE = 'insufficient_privilege',
                HINT = 'Its triggers are on a table of that role.';
        END IF;
    END IF;
    SELECT * INTO of_another FROM @schema@.attached_owner_problem(attachment);
    functions := ARRAY(
        SELECT f FROM @schema@.functions_made_for(attachment) AS f
        UNION
        -- Of an owner that the table had before: what is on the table is its owner's to drop.
        SELECT t.tgfoid FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE p.proname = format('pipeline_source_%s_changed', attachment)
          AND position('@schema@.' IN p.prosrc) > 0
          AND (t.tgrelid = s.relation OR t.tgrelid IN (
              SELECT r.relid FROM pg_partition_tree(s.relation) AS r)));
    -- Before anything else is locked, for which whoever holds the table up might wait.
    PERFORM @schema@.lock_together(locked.relations, 'ACCESS EXCLUSIVE')
    FROM (
        SELECT array_agg(DISTINCT t.tgrelid::regclass ORDER BY t.tgrelid::regclass) AS relations
        FROM pg_trigger AS t
        WHERE t.tgfoid = ANY (functions)
    ) AS locked WHERE locked.relations IS NOT NULL;
    FOR made IN
        SELECT format('TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS object
        FROM pg_trigger AS t
        WHERE t.tgname ~ format('^pipeline_source_%s_[a-z]+$', attachment) AND t.tgparentid = 0
          AND t.tgfoid = ANY (functions)
    LOOP
        EXECUTE 'DROP ' || made.object;
    END LOOP;
    FOR made IN
        -- By their names as well: what a row of attached_sources says could be anybody's.
        SELECT format('VIEW %s', c.oid::regclass) AS object
        FROM unnest(ARRAY[s.items_view, s.view]) WITH ORDINALITY AS v (view, n)
        JOIN pg_class AS c ON c.oid = v.view AND c.relkind = 'v'
            AND c.relname IN (s.name || '_items', format('pipeline_source_%s', attachment))
        WHERE CASE WHEN s.owner IS NULL THEN pg_has_role(c.relowner, 'USAGE')
                   ELSE pg_get_userbyid(c.relowner) = s.owner END
        UNION ALL
        SELECT format('FUNCTION %s', f::regprocedure)
        FROM @schema@.functions_made_for(attachment) AS f
    LOOP
        EXECUTE 'DROP ' || made.object;
    END LOOP;
    PERFORM @schema@.drop_attached_publication(attachment);
    gone := @schema@.release_source_items(s.sources, keep_items);
    DELETE FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF of_another IS NOT NULL THEN
        RAISE WARNING 'what was made to follow % is still there, and belongs to %', name,
            of_another.old_owner USING HINT = of_another.statements;
    END IF;
    RETURN gone;
END $$;
COMMENT ON FUNCTION @schema@.detach_source(text, boolean) IS
    'Ends what attach_source() began: nothing of it stays on the table. Its source items go, with '
    'their items, or with keep_items stay as they are; returns how many.';
