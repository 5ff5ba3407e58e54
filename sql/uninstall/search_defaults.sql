-- The database's defaults for HNSW that we set go, unless somebody has set others since.

DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN
        SELECT d.name
        FROM (VALUES ('hnsw.iterative_scan', 'relaxed_order'), ('hnsw.ef_search', '100'))
            AS d (name, value)
        JOIN @schema@.installed_sql AS made ON 'setting ' || d.name = ANY (made.objects)
        JOIN (pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS c (entry))
            ON s.setrole = 0 AND (c.entry = d.name || '=' || d.value
                -- As a measurement has set it.
                OR c.entry = 'hnsw.ef_search=' || (to_jsonb(made) ->> 'ef_search')
                AND d.name = 'hnsw.ef_search')
            AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    LOOP
        EXECUTE format('ALTER DATABASE %I RESET %s', current_database(), setting.name);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- then they were not set by us either
END $$;
