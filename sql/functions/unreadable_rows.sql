-- Rows of an attached source for which an expression or the filter fails.
--
-- All rows are read at once, as long as that goes well. Where it does not, the same statement runs
-- for ever fewer of them, until each row that fails stands alone: it is named, what source_items
-- has of it stays, and all others are followed.

CREATE OR REPLACE FUNCTION @schema@.is_error_of_a_row(code text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- Functions of the user's raise what they like, so it is any but those of the statement, the server
-- or another transaction, which fewer rows would not help. That a value is no tsquery or no jsonpath
-- is called a syntax error.
RETURN code IN ('42601', '42602') OR left(code, 2) <> ALL (
    '{08,0A,25,26,28,2D,3B,3D,3F,40,42,53,55,57,58,F0,HV,XX}');
COMMENT ON FUNCTION @schema@.is_error_of_a_row(text) IS
    'Whether an SQLSTATE is of those that one row may have and others not.';

CREATE OR REPLACE FUNCTION @schema@.told_error(code text, message text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- A message of these classes may show a value, to whoever may not read the table. Others name tables
-- and columns.
RETURN CASE WHEN @schema@.is_error_of_a_row(code) THEN format('%s (SQLSTATE %s)', coalesce((
    SELECT n.name FROM (VALUES
        ('21000', 'more than one row returned by a subquery'),
        ('22001', 'value too long'),
        ('22003', 'numeric value out of range'),
        ('22004', 'null value not allowed'),
        ('22007', 'invalid datetime'),
        ('22008', 'datetime out of range'),
        ('22011', 'substring error'),
        ('22012', 'division by zero'),
        ('2201B', 'invalid regular expression'),
        ('2201E', 'invalid argument for logarithm'),
        ('2201F', 'invalid argument for power function'),
        ('22021', 'character not in the database''s encoding'),
        ('22023', 'invalid parameter value'),
        ('2202E', 'array subscript error'),
        ('22030', 'duplicate key of a JSON object'),
        ('22032', 'invalid JSON'),
        ('22P02', 'invalid text for its type'),
        ('22P05', 'untranslatable character'),
        ('23502', 'a null where none may be'),
        ('23514', 'a check constraint is violated'),
        ('42601', 'syntax error in a value'),
        ('P0004', 'an assertion failed'),
        ('P0001', 'a function raised an exception')) AS n (code, name)
    WHERE n.code = told_error.code), 'an error'), code) ELSE message END;
COMMENT ON FUNCTION @schema@.told_error(text, text) IS
    'An error as everybody may see it: without the values that its message may show.';

CREATE OR REPLACE FUNCTION @schema@.unreadable_statement(attachment integer, purpose text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH s AS (
        SELECT a.*, format('%I.%I', n.nspname, c.relname) AS named
        FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
        JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE a.id = attachment
    ), keys AS (
        SELECT array_agg('t.' || coalesce(k.name, quote_ident(d.name)) ORDER BY k.n) AS of_table,
            string_agg(k.of_text || ' AS key_' || k.n, ', ' ORDER BY k.n) AS of_text,
            string_agg(format('v.key_%s %s a.key_%1$s', k.n, k.equals), ' AND ' ORDER BY k.n)
                AS in_view,
            -- A condition of the table's own: other rows are not even met.
            string_agg(format('v.key_%s %s ANY (ARRAY(SELECT a.key_%1$s FROM asked AS a))', k.n,
                k.equals), ' AND ' ORDER BY k.n) AS only_asked
        FROM s CROSS JOIN @schema@.attached_key(attachment) AS k
        JOIN jsonb_array_elements_text(s.definition -> 'key') WITH ORDINALITY AS d (name, n)
            ON d.n = k.n
    )
    SELECT CASE purpose
        WHEN 'keys of rows' THEN format('SELECT %s AS row_key FROM %s AS t',
            @schema@.attached_row_key(keys.of_table), s.named)
        WHEN 'keys of items' THEN format('SELECT i.row_key FROM @schema@.source_items AS i '
            'WHERE i.source = ANY (%L) AND i.row_key IS NOT NULL', s.sources)
        WHEN 'compare' THEN format(
            'WITH asked AS MATERIALIZED (SELECT %s FROM unnest($1) AS a (row_key)) '
            'SELECT 0::bigint, 0::bigint, 0::bigint, '
            'array_agg(DISTINCT coalesce(v.row_key, i.row_key)) FROM (SELECT v.* FROM '
            'asked AS a JOIN %s AS v ON %s WHERE %5$s) AS v FULL JOIN ('
            'SELECT * FROM @schema@.source_items WHERE source = ANY (%4$L) AND row_key = ANY ($1)) '
            'AS i ON v.source = i.source AND v.source_key = i.source_key '
            'WHERE (v.row_key, v.modality, v.content_ref, v.metadata) IS DISTINCT FROM '
            '(i.row_key, i.modality, i.content_ref, i.metadata)',
            keys.of_text, s.view, keys.in_view, s.sources, keys.only_asked)
        WHEN 'content' THEN format(
            'WITH asked AS MATERIALIZED (SELECT %s FROM unnest($1) AS a (row_key)) '
            'SELECT count(v.content_ref) FROM asked AS a JOIN %s AS v ON %s '
            'WHERE v.source = $2 AND %s', keys.of_text, s.view, keys.in_view, keys.only_asked)
        WHEN 'count' THEN format(
            'WITH asked AS MATERIALIZED (SELECT %s FROM unnest($1) AS a (row_key)) '
            'SELECT count(DISTINCT v.row_key), 0::bigint, 0::bigint, array_agg(v.source) '
            'FROM asked AS a JOIN %s AS v ON %s WHERE %s',
            keys.of_text, s.view, keys.in_view, keys.only_asked)
        END
    FROM s, keys
$$;
COMMENT ON FUNCTION @schema@.unreadable_statement(integer, text) IS
    'A statement of an attached source of which some rows cannot be read: their keys, or those of '
    'its source items; the comparison or the count of some; or whether one content can be read.';

CREATE OR REPLACE FUNCTION @schema@.unreadable_part(attachment integer, key text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s         record;
    of_source text;
    failing   text[] := '{}';
BEGIN
    SELECT a.name, a.sources, a.definition ->> 'filter' IS NOT NULL AS has_filter INTO s
    FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    FOREACH of_source IN ARRAY s.sources LOOP
        BEGIN
            EXECUTE @schema@.unreadable_statement(attachment, 'content')
                USING ARRAY[key], of_source;
        EXCEPTION WHEN OTHERS OR assert_failure THEN
            failing := failing || substr(of_source, length(s.name) + 2);
        END;
    END LOOP;
    RETURN CASE WHEN failing = '{}' THEN 'metadata'
        WHEN s.has_filter AND cardinality(failing) = cardinality(s.sources)
            THEN 'filter or ' || array_to_string(failing, ', ')
        ELSE array_to_string(failing, ', ') END;
END $$;
COMMENT ON FUNCTION @schema@.unreadable_part(integer, text) IS
    'Which expressions fail for a row of an attached source: those of contents by their names.';

CREATE OR REPLACE FUNCTION @schema@.run_for_some(
    attachment integer, statement text, keys text[], held text[], items bigint[],
    OUT added bigint, OUT changed bigint, OUT removed bigint, OUT differing text[],
    OUT unreadable jsonb)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    code    text;
    message text;
    half    integer := cardinality(keys) / 2;
    part    record;
BEGIN
    BEGIN
        EXECUTE statement INTO added, changed, removed, differing USING keys, held, items;
        unreadable := '[]';
        RETURN;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF NOT @schema@.is_error_of_a_row(SQLSTATE) THEN
            RAISE;
        END IF;
        code := SQLSTATE;
        message := SQLERRM;
    END;
    added := 0; changed := 0; removed := 0; differing := '{}'; unreadable := '[]';
    IF half = 0 THEN
        unreadable := jsonb_build_array(jsonb_build_object('key', keys[1], 'code', code,
            'message', message));
        RETURN;
    END IF;
    FOR part IN
        SELECT r.* FROM (VALUES (1, half), (half + 1, cardinality(keys))) AS h (first, last)
        CROSS JOIN LATERAL @schema@.run_for_some(
            attachment, statement, keys[h.first:h.last], held, items) AS r
    LOOP
        added := added + part.added;
        changed := changed + part.changed;
        removed := removed + part.removed;
        differing := differing || part.differing;
        unreadable := unreadable || part.unreadable;
        -- Whoever writes is waiting, and every one of them is a statement that fails.
        IF pg_trigger_depth() > 0 AND jsonb_array_length(unreadable) > 10 THEN
            RAISE EXCEPTION 'more than 10 of its rows cannot be read' USING
                ERRCODE = 'program_limit_exceeded';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.run_for_some(integer, text, text[], text[], bigint[]) IS
    'Runs a statement of an attached source for these keys, or for ever fewer of them, until it is '
    'known for which it fails: those it gives, as objects with key, code and message. In a trigger it '
    'gives up after 10 of them.';

CREATE OR REPLACE FUNCTION @schema@.run_for_each(
    attachment integer, statement text, keys text[], held text[], items bigint[],
    OUT added bigint, OUT changed bigint, OUT removed bigint, OUT differing text[],
    OUT unreadable jsonb)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Rows are looked up by their keys: a scan would meet those that cannot be read as well. Its
-- statements ask for the keys in a condition of the table's own, so that an index serves it.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$ SELECT * FROM @schema@.run_for_some(attachment, statement, keys, held, items) $$;
COMMENT ON FUNCTION @schema@.run_for_each(integer, text, text[], text[], bigint[]) IS
    'run_for_some(), with every row read by its key alone.';

CREATE OR REPLACE FUNCTION @schema@.note_unreadable(attachment integer, unreadable jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    called text := (SELECT s.name FROM @schema@.attached_sources AS s WHERE s.id = attachment);
    named  text[] := '{}';
    count  integer := jsonb_array_length(unreadable);
    u      record;
BEGIN
    -- As many as anybody reads; what is wrong with a row takes a statement for each content.
    FOR u IN
        SELECT e.value ->> 'key' AS key, e.value ->> 'code' AS code, e.value ->> 'message' AS message,
            @schema@.unreadable_part(attachment, e.value ->> 'key') AS part
        FROM jsonb_array_elements(unreadable) WITH ORDINALITY AS e (value, n)
        WHERE e.n <= 5 ORDER BY e.n
    LOOP
        named := named || format('%s (%s: %s)', u.key, u.part,
            @schema@.told_error(u.code, u.message));
        -- Who writes may not be allowed to read; who syncs owns the table.
        RAISE WARNING 'row % of % cannot be read: %: %', u.key, called, u.part,
            CASE WHEN pg_trigger_depth() > 0 THEN @schema@.told_error(u.code, u.message)
                 ELSE u.message END USING ERRCODE = '01R18',
            HINT = 'Its items stay as they were: change the row, or detach and attach with '
                   'expressions that can be had of every row; then pipeline sync.';
    END LOOP;
    IF count > 0 THEN
        PERFORM @schema@.note_attached_problem(attachment, format('%s cannot be read: %s%s',
            CASE count WHEN 1 THEN 'a row' ELSE count || ' rows' END,
            array_to_string(named, ', '), CASE WHEN count > 5 THEN ' ...' END));
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.note_unreadable(integer, jsonb) IS
    'Notes which rows of an attached source cannot be read and why, and warns.';

CREATE OR REPLACE FUNCTION @schema@.keys_by_chunk(attachment integer) RETURNS SETOF text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT array_agg(n.row_key) FROM (SELECT k.row_key, (row_number() OVER () - 1) / 1000 '
        'AS chunk FROM (%s) AS k) AS n GROUP BY n.chunk',
        @schema@.unreadable_statement(attachment, 'keys of rows'));
END $$;
COMMENT ON FUNCTION @schema@.keys_by_chunk(integer) IS
    'The keys of the rows of an attached source, in arrays of a thousand, so that of one that '
    'cannot be read few others are tried again.';

CREATE OR REPLACE FUNCTION @schema@.compare_each(attachment integer) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    compared   record;
    keys       text[];
    unreadable jsonb := '[]';
BEGIN
    FOR keys IN SELECT c FROM @schema@.keys_by_chunk(attachment) AS c LOOP
        SELECT * INTO compared FROM @schema@.run_for_each(
            attachment, @schema@.unreadable_statement(attachment, 'compare'), keys, NULL, NULL);
        RETURN QUERY SELECT f FROM unnest(compared.differing) AS f;
        unreadable := unreadable || compared.unreadable;
    END LOOP;
    RETURN QUERY EXECUTE format('%s EXCEPT %s',
        @schema@.unreadable_statement(attachment, 'keys of items'),
        @schema@.unreadable_statement(attachment, 'keys of rows'));
    PERFORM @schema@.note_unreadable(attachment, unreadable);
END $$;
COMMENT ON FUNCTION @schema@.compare_each(integer) IS
    'compare_attached() where some rows cannot be read, which are noted.';

CREATE OR REPLACE FUNCTION @schema@.possible_keys(
    attachment integer, keys text[], OUT asked text[], OUT removed bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement  text := @schema@.attached_statement(attachment, 'keys');
    unreadable jsonb;
    of_none    jsonb;
BEGIN
    removed := 0;
    BEGIN
        EXECUTE statement INTO asked USING keys;
        RETURN;
    EXCEPTION WHEN data_exception THEN NULL;
    END;
    -- A label of an enum that was renamed, say: no row can have such a key any more.
    SELECT r.differing, r.unreadable INTO asked, unreadable FROM @schema@.run_for_some(attachment,
        format('SELECT 0::bigint, 0::bigint, 0::bigint, (%s)', statement), keys, NULL, NULL) AS r;
    WITH impossible AS (
        SELECT u ->> 'key' AS key, u FROM jsonb_array_elements(unreadable) AS u
    ), gone AS (
        DELETE FROM @schema@.source_items AS i USING impossible AS m, @schema@.attached_sources AS s
        WHERE s.id = attachment AND i.source = ANY (s.sources) AND i.row_key = m.key
        RETURNING i.row_key
    )
    SELECT (SELECT count(*) FROM gone), (SELECT m.u FROM impossible AS m
        WHERE m.key NOT IN (SELECT g.row_key FROM gone AS g) LIMIT 1)
    INTO removed, of_none;
    IF of_none IS NOT NULL THEN
        RAISE EXCEPTION '%', of_none ->> 'message' USING ERRCODE = of_none ->> 'code',
            HINT = format('%s can be the key of no row.', quote_literal(of_none ->> 'key'));
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.possible_keys(integer, text[]) IS
    'These keys as rows of an attached source have them, each once; source items of keys that no row '
    'can have are removed.';

CREATE OR REPLACE FUNCTION @schema@.sync_rows(
    attachment integer, keys text[], held text[], items bigint[],
    OUT added bigint, OUT changed bigint, OUT removed bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement  text := @schema@.attached_statement(attachment, 'sync');
    differing      text[];
    unreadable jsonb;
BEGIN
    BEGIN
        EXECUTE statement INTO added, changed, removed, differing USING keys, held, items;
        RETURN;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF NOT @schema@.is_error_of_a_row(SQLSTATE) THEN
            RAISE;
        END IF;
    END;
    SELECT r.added, r.changed, r.removed, r.unreadable INTO added, changed, removed, unreadable
    FROM @schema@.run_for_each(attachment,
        @schema@.attached_statement(attachment, 'sync each'), keys, held, items) AS r;
    PERFORM @schema@.note_unreadable(attachment, unreadable);
END $$;
COMMENT ON FUNCTION @schema@.sync_rows(integer, text[], text[], bigint[]) IS
    'Writes the source items of these rows, of which those are held, but for rows that cannot be '
    'read.';

CREATE OR REPLACE FUNCTION @schema@.follow_each(
    attachment integer, keys text[], code text, message text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    left_out bigint;
BEGIN
    IF keys IS NULL OR NOT @schema@.is_error_of_a_row(code) THEN
        PERFORM @schema@.note_attached_problem(
            attachment, @schema@.told_error(code, message), true);
        RETURN;
    END IF;
    SELECT s.left_out INTO left_out FROM @schema@.sync_attached(attachment, keys) AS s;
    PERFORM @schema@.note_left_out(attachment, left_out);
EXCEPTION WHEN program_limit_exceeded THEN
    PERFORM @schema@.note_attached_problem(attachment, SQLERRM, true);
END $$;
COMMENT ON FUNCTION @schema@.follow_each(integer, text[], text, text) IS
    'What the triggers of an attached source do after an error: they follow the rows one by one, '
    'if these are few enough to be given, and otherwise note that a sync is needed.';
