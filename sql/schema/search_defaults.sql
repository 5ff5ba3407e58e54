-- The database's defaults for HNSW: full LIMITs under filters, and enough candidates.
--
-- With pgvector's own defaults a filter of 1 % returns half a row for a LIMIT of 10 (measured, see
-- docs/decisions.md). Every session gets these without asking; any session may set others. What
-- somebody has set for the database stands.

DO $$
DECLARE
    statements text;
BEGIN
    PERFORM '[1]'::@vector@.vector;  -- loads the library: the names are known, values checked
    SELECT string_agg(
        format('ALTER DATABASE %I SET %s = %L', current_database(), d.name, d.value), '; ')
    INTO statements
    FROM (VALUES ('hnsw.iterative_scan', 'relaxed_order'), ('hnsw.ef_search', '100'))
        AS d (name, value)
    WHERE NOT EXISTS (
        SELECT FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS c (entry)
        WHERE s.setrole = 0 AND starts_with(c.entry, d.name || '=')
          AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()));
    IF statements IS NOT NULL THEN
        EXECUTE statements;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'this login does not own the database, so its defaults for HNSW are not set and '
        'a filter may leave a LIMIT half full' USING HINT = statements;
END $$;
