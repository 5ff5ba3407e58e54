-- dblink comes with PostgreSQL, but only a superuser (or a managed service's administrator) may
-- create it. Without it text_embedding() says: CALL embed_query('...').

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS dblink SCHEMA @schema@;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'dblink is not there, so text_embedding() finds only what was asked for before'
            USING HINT = 'CREATE EXTENSION dblink SCHEMA @schema@';
    WHEN undefined_file OR feature_not_supported THEN
        RAISE WARNING 'this server has no dblink (%), so text_embedding() finds only what was asked '
            'for before; CALL embed_query(''...'') asks', SQLERRM;
END $$;
