-- Whether an attached table is as the last sync of all of it left it, without comparing its rows.
--
-- A row that was written since has a newer transaction (xmin), and one that went is missing from the
-- number of the older ones. This holds where nothing but the row makes what is searched of it, which
-- rows_tell_all() says; elsewhere all rows are compared, as after any change.

CREATE OR REPLACE FUNCTION @schema@.tables_read(relation regclass) RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE parts AS (
        SELECT relation::oid AS oid
        UNION SELECT h.inhrelid FROM parts AS p JOIN pg_inherits AS h ON h.inhparent = p.oid
    )
    SELECT oid FROM parts ORDER BY oid
$$;
COMMENT ON FUNCTION @schema@.tables_read(regclass) IS
    'A table, and the partitions or tables that a SELECT from it reads.';

CREATE OR REPLACE FUNCTION @schema@.rows_tell_all(attachment integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH used AS (  -- the view's query, as PostgreSQL keeps it
        SELECT s.relation, s.view, r.ev_action::text AS tree
        FROM @schema@.attached_sources AS s JOIN pg_rewrite AS r ON r.ev_class = s.view
        WHERE s.id = attachment AND s.definition -> 'depends_on' IN ('null', '[]')
          AND @schema@.attached_columns(attachment) IS NOT NULL
          AND NOT row_security_active(s.relation)
    )
    SELECT count(*) > 0 FROM used AS u
    -- Tables of PostgreSQL's own, no foreign ones.
    WHERE NOT EXISTS (
        SELECT FROM @schema@.tables_read(u.relation) AS p JOIN pg_class AS c ON c.oid = p
        WHERE c.relkind NOT IN ('r', 'p') OR c.relkind = 'r' AND c.relam <> 2)
    AND NOT EXISTS (
        SELECT FROM @schema@.relations_of_view(u.view) AS r WHERE r <> u.relation)
    -- Whose values are PostgreSQL's own: the labels of an enum may be renamed, and the names of
    -- tables; a domain's condition may be another one.
    AND NOT EXISTS (
        SELECT FROM regexp_matches(u.tree, ':[a-z]*typ(?:e|eid|id) ([0-9]+)', 'g') AS m (found)
        LEFT JOIN pg_type AS t ON t.oid = m.found[1]::oid
        WHERE m.found[1]::oid >= 16384 OR t.typname ~ '^_?reg')
    -- And of functions that nobody replaces and that ask for nothing but their arguments.
    AND u.tree !~ '[{]SQLVALUEFUNCTION '
    AND NOT EXISTS (
        SELECT FROM @schema@.functions_of_view(u.view) AS f JOIN pg_proc AS p ON p.oid = f.function
        WHERE p.oid NOT IN (
            '@schema@.content_text(anyelement)'::regprocedure,
            '@schema@.content_text(jsonb)'::regprocedure,
            '@schema@.content_text(json)'::regprocedure,
            '@schema@.elements_of(anyarray)'::regprocedure,
            '@schema@.elements_of(jsonb)'::regprocedure, '@schema@.elements_of(json)'::regprocedure,
            '@schema@.elements_of(jsonb[])'::regprocedure,
            '@schema@.elements_of(json[])'::regprocedure,
            '@schema@.metadata_object(text, text, jsonb)'::regprocedure,
            '@schema@.metadata_object(text, text, json)'::regprocedure)
          AND (p.oid >= 16384 OR p.provolatile <> 'i' AND p.proname NOT IN (
              'concat', 'concat_ws', 'textanycat', 'anytextcat', 'format', 'to_json', 'to_jsonb',
              'row_to_json', 'json_build_object', 'json_build_array', 'jsonb_build_object',
              'jsonb_build_array', 'array_to_string', 'array_to_json')))
$$;
COMMENT ON FUNCTION @schema@.rows_tell_all(integer) IS
    'Whether what is searched of an attached table changes only as its rows are written.';

CREATE OR REPLACE FUNCTION @schema@.count_older(
    attachment integer, horizon xid8, OUT older jsonb, OUT younger bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s        record;
    counts   text := 'SELECT count(*) AS n, count(*) FILTER (WHERE age(xmin) > age($1)) AS older ';
    of_rows  record;
    of_items record;
BEGIN
    SELECT a.relation, a.sources INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    EXECUTE counts || format('FROM %s', s.relation) INTO of_rows USING horizon::xid;
    EXECUTE counts || 'FROM @schema@.source_items WHERE source = ANY ($2)'
        INTO of_items USING horizon::xid, s.sources;
    older := jsonb_build_object('rows', of_rows.older, 'items', of_items.older);
    younger := of_rows.n - of_rows.older + of_items.n - of_items.older;
END $$;
COMMENT ON FUNCTION @schema@.count_older(integer, xid8) IS
    'How many rows and source items of an attached table were written by transactions before this '
    'one, and how many by later ones.';

CREATE OR REPLACE FUNCTION @schema@.attached_seen(
    attachment integer, OUT seen jsonb, OUT is_unchanged boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place   jsonb;
    found   record;
    last    xid8;  -- that of the last sync
    -- All transactions before it have ended: whatever comes later sees them.
    horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
    is_unchanged := false;
    IF NOT @schema@.rows_tell_all(attachment) THEN
        RETURN;
    END IF;
    SELECT a.seen, (a.seen ->> 'horizon')::xid8, jsonb_build_object(
        'cluster', (pg_control_system()).system_identifier::text,
        'tables', ARRAY(SELECT @schema@.tables_read(a.relation)))
    INTO seen, last, place FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    -- One of 2^31 transactions ago would be taken for a later one.
    IF seen @> place AND seen -> 'tables' = place -> 'tables'
        AND horizon::text::numeric - last::text::numeric BETWEEN 0 AND 1000000000
    THEN
        SELECT * INTO found FROM @schema@.count_older(attachment, last);
        is_unchanged := found.younger = 0 AND seen @> found.older;
    END IF;
    IF NOT is_unchanged THEN
        SELECT * INTO found FROM @schema@.count_older(attachment, horizon);
        seen := place || found.older || jsonb_build_object('horizon', horizon::text);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.attached_seen(integer) IS
    'What there is of an attached table, to be kept by a sync that compares all of it afterwards; '
    'and whether nothing changed since the sync that kept the last one.';
