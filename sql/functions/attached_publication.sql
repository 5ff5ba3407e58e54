-- Changes of an attached table as logical decoding shows them: no trigger, and nothing of ours runs in
-- the transactions that write.

CREATE OR REPLACE FUNCTION @schema@.check_may_decode(relation regclass, key text[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part    record;
BEGIN
    IF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'the server has wal_level %, and must have logical',
            current_setting('wal_level') USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'ALTER SYSTEM SET wal_level = logical; and restart the server; or '
                   'capture => ''statement''.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = current_user
                   AND (r.rolreplication OR r.rolsuper
                        OR EXISTS (SELECT FROM pg_roles AS h WHERE h.rolname = 'rds_replication'
                                   AND pg_has_role(r.oid, h.oid, 'USAGE')))) THEN
        -- Who could read no slot could not drop it either, and so not detach.
        RAISE EXCEPTION '% may not read replication slots', current_user USING
            ERRCODE = 'insufficient_privilege', HINT = format(
                'ALTER ROLE %I REPLICATION; or capture => ''statement''.', current_user);
    END IF;
    -- What publishes its changes and cannot say which row changed lets nobody change it.
    FOR part IN
        SELECT c.oid::regclass AS name, c.relreplident FROM pg_class AS c
        WHERE c.relkind = 'r' AND (c.oid = relation
            OR c.oid IN (SELECT p.relid FROM pg_partition_tree(relation) AS p))
    LOOP
        IF part.relreplident <> 'f' AND key IS DISTINCT FROM (
            SELECT array_agg(a.attname::text ORDER BY array_position(key, a.attname::text))
            FROM pg_index AS i
            CROSS JOIN unnest(i.indkey[:i.indnkeyatts - 1]) AS k (attnum)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = part.name AND i.indimmediate
              AND CASE part.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident
                  ELSE false END)
        THEN
            RAISE EXCEPTION 'the replica identity of % is not the key %', part.name,
                array_to_string(key, ', ') USING ERRCODE = 'invalid_table_definition',
                HINT = format('ALTER TABLE %s REPLICA IDENTITY %s;', part.name, coalesce((
                    SELECT format('USING INDEX %I', n.relname)
                    FROM pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid
                    WHERE i.indrelid = part.name AND i.indisunique AND i.indimmediate
                      AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND key = ARRAY(
                          SELECT a.attname::text
                          FROM unnest(i.indkey[:i.indnkeyatts - 1]) AS k (attnum)
                          JOIN pg_attribute AS a ON a.attrelid = i.indrelid
                              AND a.attnum = k.attnum AND a.attnotnull
                          ORDER BY array_position(key, a.attname::text))
                    LIMIT 1), 'FULL'));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.check_may_decode(regclass, text[]) IS
    'Raises where logical decoding would not show the keys of a table''s changes.';

CREATE OR REPLACE FUNCTION @schema@.attached_slot(attachment integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Slots have their names in the whole server.
    SELECT format('pipeline_source_%s_%s', d.oid, attachment) FROM pg_database AS d
    WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION @schema@.attached_slot(integer) IS
    'The slot from which the changes of an attached source are read.';

CREATE OR REPLACE FUNCTION @schema@.make_attached_publication(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    IF s.capture <> 'logical' THEN
        RETURN;
    END IF;
    PERFORM @schema@.check_may_decode(s.relation, ARRAY(
        SELECT jsonb_array_elements_text(s.definition -> 'key')));
    -- Partitions under their own names: of those that stand for their table, TRUNCATE is not told.
    EXECUTE format('CREATE PUBLICATION pipeline_source_%s FOR TABLE %s', attachment, s.relation);
END $$;
COMMENT ON FUNCTION @schema@.make_attached_publication(integer) IS
    'Makes the publication of an attached source that is followed by logical decoding.';

CREATE OR REPLACE FUNCTION @schema@.drop_attached_publication(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    called text := format('pipeline_source_%s', attachment);
BEGIN
    IF EXISTS (SELECT FROM @schema@.attached_sources AS s JOIN pg_publication AS p
               ON p.pubname = called WHERE s.id = attachment AND s.capture = 'logical') THEN
        EXECUTE format('DROP PUBLICATION %I', called);
    END IF;
    -- The server keeps all its log for a slot that nobody reads.
    PERFORM pg_drop_replication_slot(r.slot_name) FROM pg_replication_slots AS r
    WHERE r.slot_name = @schema@.attached_slot(attachment);
END $$;
COMMENT ON FUNCTION @schema@.drop_attached_publication(integer) IS
    'Drops the publication and the slot of an attached source, where it has them.';
