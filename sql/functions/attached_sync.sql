-- A sync of an attached table or view, by its owner.
--
-- What it reads is the owner's: a view whose expressions may call functions of the owner's, who may
-- change them at any time. Whoever else ran them would lend the owner their rights.

CREATE OR REPLACE FUNCTION @schema@.check_is_owner(attachment integer) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    SELECT a.name, a.location, pg_get_userbyid(c.relowner) AS owner INTO s
    FROM @schema@.attached_sources AS a LEFT JOIN pg_class AS c ON c.oid = a.relation
    WHERE a.id = attachment;
    IF s.location IS NOT NULL THEN
        RAISE EXCEPTION '% is %, which the database cannot read', s.name, s.location USING
            ERRCODE = 'wrong_object_type', HINT = format('pipeline sync %s', s.name);
    ELSIF s.owner IS NULL THEN
        RAISE EXCEPTION 'the table of % is gone', s.name USING
            ERRCODE = 'undefined_table', HINT = format('SELECT detach_source(%L);', s.name);
    ELSIF current_user <> s.owner THEN
        RAISE EXCEPTION 'only % may sync %, and you are %', s.owner, s.name, current_user USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'What is read may run functions of the table''s owner, with the rights of whoever '
                   'reads it: log in as that role, or SET ROLE where you trust it.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_is_owner(integer) IS
    'Raises where whoever calls may not sync an attached source.';

CREATE OR REPLACE FUNCTION @schema@.compare_attached(attachment integer) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$
BEGIN
    PERFORM @schema@.check_is_owner(attachment);
    BEGIN
        RETURN QUERY EXECUTE @schema@.attached_statement(attachment, 'compare');
        RETURN;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF NOT @schema@.is_error_of_a_row(SQLSTATE) THEN
            RAISE;
        END IF;
    END;
    -- As well those that were found before the error.
    RETURN QUERY SELECT * FROM @schema@.compare_each(attachment);
END $$;
COMMENT ON FUNCTION @schema@.compare_attached(integer) IS
    'The keys of the rows of an attached source that source_items does not show as they are.';

CREATE OR REPLACE FUNCTION @schema@.sync_attached(
    attachment integer, keys text[], OUT added bigint, OUT changed bigint, OUT removed bigint,
    OUT left_out bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$
DECLARE
    asked text[];
    held  text[];
    items bigint[];
    gone  bigint;
BEGIN
    PERFORM @schema@.check_is_owner(attachment);
    SELECT k.asked, k.removed INTO asked, gone FROM @schema@.possible_keys(attachment, keys) AS k;
    EXECUTE @schema@.attached_statement(attachment, 'lock rows') INTO held USING asked;
    EXECUTE @schema@.attached_statement(attachment, 'lock items') INTO items USING asked;
    held := coalesce(held, '{}');
    items := coalesce(items, '{}');
    EXECUTE @schema@.attached_statement(attachment, 'left out') INTO left_out
        USING asked, held, items;
    SELECT r.added, r.changed, r.removed INTO added, changed, removed
    FROM @schema@.sync_rows(attachment, asked, held, items) AS r;
    removed := removed + gone;
END $$;
COMMENT ON FUNCTION @schema@.sync_attached(integer, text[]) IS
    'Brings source_items up to date with these rows of an attached source, but for those that others '
    'are changing, which it counts.';
