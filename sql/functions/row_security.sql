-- A policy of the application's on a table of ours. What it hides must not be taken for gone, nor
-- for never having been there, by whoever compares, claims or removes.

CREATE OR REPLACE FUNCTION @schema@.sees_all_rows(of_table regclass, who name)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
-- As row_security_active(), for anybody, and but for policies that show everything, as
-- docs/security.md gives them to the roles that embed.
RETURN (
    SELECT NOT c.relrowsecurity OR r.rolsuper OR r.rolbypassrls
        OR NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE')
        OR coalesce((
            SELECT bool_or(p.polpermissive AND p.shows_all)
                   AND NOT bool_or(NOT p.polpermissive AND NOT p.shows_all)
            FROM (SELECT o.polpermissive, o.polroles,
                         pg_get_expr(o.polqual, o.polrelid) = 'true' AS shows_all
                  FROM pg_policy AS o WHERE o.polrelid = c.oid AND o.polcmd IN ('*', 'r')) AS p
            WHERE EXISTS (
                SELECT FROM unnest(p.polroles) AS to_role (oid)
                WHERE to_role.oid = 0 OR pg_has_role(r.oid, to_role.oid, 'USAGE'))
        ), false)
    FROM pg_class AS c, pg_roles AS r WHERE c.oid = of_table AND r.rolname = who);
COMMENT ON FUNCTION @schema@.sees_all_rows(regclass, name) IS
    'Whether no policy hides rows of a table from a role.';

CREATE OR REPLACE FUNCTION @schema@.check_sees_all_rows() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hidden text;
BEGIN
    SELECT c.relname INTO hidden FROM pg_class AS c
    WHERE c.oid = ANY (ARRAY['@schema@.source_items'::regclass,
            '@schema@.multimodal_items'::regclass, '@schema@.ingest_jobs'::regclass]::oid[])
        AND NOT @schema@.sees_all_rows(c.oid::regclass, current_user)
    ORDER BY c.relname DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'row-level security hides rows of % from %', hidden, current_user USING
            ERRCODE = 'insufficient_privilege',
            HINT = format('What is hidden would be taken for gone. Its owner runs: CREATE POLICY '
                'everything ON %I.%I TO %I USING (true)', replace('@schema@', '"', ''), hidden,
                current_user);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_sees_all_rows() IS
    'Raises where a policy hides source items, items or jobs from the current role.';
