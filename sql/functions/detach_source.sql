CREATE OR REPLACE FUNCTION @schema@.release_source_items(sources text[], keep_items boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    released bigint;
BEGIN
    IF keep_items THEN
        UPDATE @schema@.source_items AS i SET row_key = NULL
        WHERE i.source = ANY (sources) AND i.row_key IS NOT NULL;
    ELSE
        DELETE FROM @schema@.source_items AS i WHERE i.source = ANY (sources);
    END IF;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;
COMMENT ON FUNCTION @schema@.release_source_items(text[], boolean) IS
    'Removes the source items of these sources, or has them stay as nobody''s.';

CREATE OR REPLACE FUNCTION @schema@.shut_sync_out(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place record;
BEGIN
    SELECT n.oid, n.nspname INTO place
    FROM @schema@.attached_sources AS s JOIN pg_class AS c ON c.oid = s.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE s.id = attachment AND (s.definition -> 'let_in')::boolean
      AND pg_has_role(n.nspowner, 'USAGE');
    IF place IS NULL THEN
        RETURN;
    END IF;
    -- Another attached table of the schema needs it still, and takes it back in its turn.
    UPDATE @schema@.attached_sources AS s SET definition = s.definition || '{"let_in": true}'
    FROM (
        SELECT o.id FROM @schema@.attached_sources AS o JOIN pg_class AS c ON c.oid = o.relation
        WHERE c.relnamespace = place.oid AND o.id <> attachment
          AND pg_has_role(c.relowner, 'USAGE') LIMIT 1
    ) AS other WHERE s.id = other.id;
    IF NOT FOUND THEN
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM pipeline_sync', place.nspname);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.shut_sync_out(integer) IS
    'Takes back what a sync was let in for, where nothing else is attached in that schema.';

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
    -- Most of the work before the lock for which the application waits.
    gone := @schema@.release_source_items(s.sources, keep_items);
    IF s.owner IS NOT NULL AND s.capture <> 'scan' THEN
        PERFORM @schema@.lock_shortly(s.relation);
    END IF;
    FOR made IN
        SELECT format('TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS object
        FROM pg_trigger AS t
        WHERE t.tgname ~ format('^pipeline_source_%s_[a-z]+$', attachment) AND t.tgparentid = 0
          AND t.tgfoid IN (SELECT p.oid FROM pg_proc AS p WHERE position('@schema@.' IN p.prosrc) > 0)
    LOOP
        EXECUTE 'DROP ' || made.object;
    END LOOP;
    FOR made IN
        SELECT format('VIEW %s', v.view) AS object
        FROM unnest(ARRAY[s.items_view, s.view]) AS v (view) JOIN pg_class AS c ON c.oid = v.view
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc AS p
        WHERE p.proname ~ format('^pipeline_source_%s_(changed|touched|sync|compare)$', attachment)
          AND position('@schema@.' IN p.prosrc) > 0
    LOOP
        EXECUTE 'DROP ' || made.object;
    END LOOP;
    PERFORM @schema@.shut_sync_out(attachment);
    PERFORM @schema@.drop_attached_publication(attachment);
    gone := gone + @schema@.release_source_items(s.sources, keep_items);
    DELETE FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    RETURN gone;
END $$;
COMMENT ON FUNCTION @schema@.detach_source(text, boolean) IS
    'Ends what attach_source() began: nothing of it stays on the table. Its source items go, with '
    'their items, or with keep_items stay as they are; returns how many.';
