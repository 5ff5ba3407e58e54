-- Calls of what belongs to a table's owner, who may change it at any time.
--
-- They run as pipeline_sync, which has no rights to lend; see sync_role.sql. What such a function
-- leaves to the end of the transaction would before PostgreSQL 18 run as whoever ends it.

CREATE OR REPLACE FUNCTION @schema@.attached_call(attachment integer) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    SELECT a.name, a.relation, a.location, pg_get_userbyid(c.relowner) AS owner INTO s
    FROM @schema@.attached_sources AS a LEFT JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.location IS NOT NULL THEN
        RAISE EXCEPTION '% is %, which the database cannot read', s.name, s.location USING
            ERRCODE = 'wrong_object_type', HINT = format('pipeline sync %s', s.name);
    ELSIF s.owner IS NULL THEN
        RAISE EXCEPTION 'the table of % is gone', s.name USING
            ERRCODE = 'undefined_table', HINT = format('SELECT detach_source(%L);', s.name);
    ELSIF current_user NOT IN ('pipeline_sync', s.owner) THEN
        RAISE EXCEPTION 'only %, who owns %, may sync it', s.owner, s.relation USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'Others may where pipeline migrate can make the role pipeline_sync.';
    END IF;
    RETURN @schema@.attached_object(attachment);
END $$;
COMMENT ON FUNCTION @schema@.attached_call(integer) IS
    'The name, with its schema, of which the functions of an attached source begin; raises where '
    'they are not to be called.';

CREATE OR REPLACE FUNCTION @schema@.end_deferred() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('server_version_num')::integer < 180000 THEN
        EXECUTE 'SET CONSTRAINTS ALL IMMEDIATE';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.end_deferred() IS
    'Runs the triggers that wait for the end of the transaction, where they would not run as whoever '
    'caused them.';

CREATE OR REPLACE FUNCTION @schema@.compare_attached(attachment integer) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT k::text FROM %s_compare() AS k',
        @schema@.attached_call(attachment));
    PERFORM @schema@.end_deferred();
END $$;
COMMENT ON FUNCTION @schema@.compare_attached(integer) IS
    'The keys of the rows of an attached source that source_items does not show as they are.';

CREATE OR REPLACE FUNCTION @schema@.sync_attached(
    attachment integer, keys text[], OUT added bigint, OUT changed bigint, OUT removed bigint,
    OUT left_out bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('SELECT s.added, s.changed, s.removed, s.left_out FROM %s_sync($1) AS s',
        @schema@.attached_call(attachment)) INTO added, changed, removed, left_out USING keys;
    PERFORM @schema@.end_deferred();
END $$;
COMMENT ON FUNCTION @schema@.sync_attached(integer, text[]) IS
    'Brings source_items up to date with these rows of an attached source, but for those that others '
    'are changing, which it counts.';
