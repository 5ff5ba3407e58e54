-- dblink comes with PostgreSQL, but only a superuser (or a managed service's administrator) may
-- create it. Without it text_embedding() says: CALL embed_query('...').

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS dblink SCHEMA @schema@;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'dblink is not there (%); text_embedding() reads its cache only', SQLERRM;
END $$;
