-- Whether the expressions of a source to attach give the same each time, and can be had at all where
-- the triggers and the sync have them.

CREATE OR REPLACE FUNCTION @schema@.functions_of_view(view regclass, OUT function regprocedure)
RETURNS SETOF regprocedure
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Those of PostgreSQL's own are in no table of dependencies, but in the view as it is stored.
    SELECT DISTINCT m[1]::oid::regprocedure
    FROM pg_rewrite AS r
    CROSS JOIN regexp_matches(r.ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') AS m
    JOIN pg_proc AS p ON p.oid = m[1]::oid
    WHERE r.ev_class = view
$$;
COMMENT ON FUNCTION @schema@.functions_of_view(regclass) IS
    'The functions that a view calls by itself, those of its operators among them.';

CREATE OR REPLACE FUNCTION @schema@.relations_of_view(view regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT m[1]::oid::regclass FROM pg_rewrite AS r
    CROSS JOIN regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') AS m
    WHERE r.ev_class = view AND m[1] <> '0' AND m[1]::oid <> view
$$;
COMMENT ON FUNCTION @schema@.relations_of_view(regclass) IS
    'The tables and views that a view reads by itself, PostgreSQL''s own among them.';

CREATE OR REPLACE FUNCTION @schema@.views_beneath(view regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE beneath (oid) AS (
        SELECT view::oid
        UNION
        SELECT d.refobjid FROM beneath AS b
        -- A materialised view is a copy, and its own to give away.
        JOIN pg_class AS v ON v.oid = b.oid AND v.relkind = 'v'
        JOIN pg_rewrite AS r ON r.ev_class = b.oid
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    )
    SELECT b.oid::regclass FROM beneath AS b WHERE b.oid <> view
$$;
COMMENT ON FUNCTION @schema@.views_beneath(regclass) IS
    'The tables and views that a view is made of, and those that these are made of.';

CREATE OR REPLACE FUNCTION @schema@.changing_functions(view regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(DISTINCT c.named, ', ') FROM (
        SELECT p.proname || '()' FROM @schema@.functions_of_view(view) AS f
        JOIN pg_proc AS p ON p.oid = f.function
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (
            p.proname IN ('now', 'transaction_timestamp', 'statement_timestamp',
                'current_setting', 'pg_my_temp_schema', 'inet_client_addr', 'inet_client_port')
            OR p.proname = 'age' AND p.pronargs = 1)
        UNION ALL
        -- Those without brackets: the date and the time, and who asks.
        SELECT 'current_date, current_timestamp, current_user or the like'
        FROM pg_rewrite AS r
        WHERE r.ev_class = view AND r.ev_action::text ~ '[{](SQLVALUEFUNCTION|CURRENTOFEXPR) '
    ) AS c (named)
$$;
COMMENT ON FUNCTION @schema@.changing_functions(regclass) IS
    'Of what a view calls that which changes by itself, with the time or with who asks; or null.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_volatility(attachment integer) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s     record;
    named text;
BEGIN
    SELECT * INTO s FROM @schema@.attached_sources AS a WHERE a.id = attachment;
    -- Beside that they give something else each time, rows could not be looked up by their keys.
    SELECT min(f.function::text) INTO named FROM @schema@.functions_of_view(s.view) AS f
    JOIN pg_proc AS p ON p.oid = f.function WHERE p.provolatile = 'v';
    IF named IS NOT NULL THEN
        RAISE EXCEPTION '% cannot be attached so: % is VOLATILE, which may give something else at '
            'each call, so that every sync would write and embed all rows again', s.relation, named
            USING ERRCODE = 'feature_not_supported', HINT = format(
                'Leave it out; or, if it gives the same for the same row, ALTER FUNCTION %s STABLE;',
                named);
    END IF;
    SELECT string_agg(DISTINCT f.function::text, ', ') INTO named
    FROM @schema@.views_beneath(s.view) AS b
    CROSS JOIN @schema@.functions_of_view(b) AS f
    JOIN pg_proc AS p ON p.oid = f.function WHERE p.provolatile = 'v';
    named := concat_ws(', ', named, @schema@.changing_functions(s.view));
    IF named <> '' THEN
        RAISE WARNING '% is made of %, which changes by itself', s.name, named USING
            HINT = 'Nobody says when it does: rows for which it gives something else follow at the '
                   'next sync, and are embedded again if it is their content.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_volatility(integer) IS
    'Raises where an expression of an attached source is volatile, and warns where it depends on the '
    'time or on who asks.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_expressions(attachment integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$
DECLARE
    s       record;
    keys    text[];
    message text;
    state   text;
BEGIN
    SELECT a.*, c.relkind INTO s FROM @schema@.attached_sources AS a
    JOIN pg_class AS c ON c.oid = a.relation WHERE a.id = attachment;
    -- As they are called later: names in a body that is a text are looked up then, and not where the
    -- function was made.
    PERFORM fmgr_sql_validator(p.oid) FROM @schema@.functions_of_view(s.view) AS f
    JOIN pg_proc AS p ON p.oid = f.function
    JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'sql'
    WHERE p.prosqlbody IS NULL AND p.pronamespace <> 'pg_catalog'::regnamespace
      AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c (set) WHERE c.set ~ '^search_path=');
    IF s.relkind IN ('r', 'p') THEN
        -- A few rows, whatever the filter: writers wait meanwhile.
        EXECUTE format('SELECT array_agg(k.row_key) FROM (%s LIMIT 10) AS k',
            @schema@.unreadable_statement(attachment, 'keys of rows')) INTO keys;
        PERFORM @schema@.run_for_each(attachment,
            @schema@.unreadable_statement(attachment, 'compare'), coalesce(keys, '{}'), NULL, NULL);
    END IF;
EXCEPTION WHEN OTHERS OR assert_failure THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
    RAISE EXCEPTION '% cannot be attached so: %', s.relation, message USING ERRCODE = state,
        HINT = 'Its expressions are read with pg_catalog alone as search path, also in the bodies of '
               'functions: name what is there in full, or ALTER FUNCTION ... SET search_path = ...';
END $$;
COMMENT ON FUNCTION @schema@.check_attached_expressions(integer) IS
    'Raises where what an attached source calls fails with the search path that it will have.';
