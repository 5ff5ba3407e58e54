-- Three roles without login, to be granted to those who log in.
--
-- * pipeline_analyst searches and reads; writes nothing.
-- * pipeline_ingest fills: source items, the queue, the items of every space; changes no table.
-- * pipeline_owner may do all of that and take statistics; tables are changed by the role that runs
--   the migrations and owns them.
--
-- Roles belong to the whole server, not to one database: another one may have made them, or be
-- making them right now.

DO $$
DECLARE
    role name;
BEGIN
    FOREACH role IN ARRAY ARRAY['pipeline_analyst', 'pipeline_ingest', 'pipeline_owner'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            -- By this it is known again: one that somebody else made stays when we go.
            EXECUTE format('COMMENT ON ROLE %I IS ''Made by pipeline migrate.''', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;
