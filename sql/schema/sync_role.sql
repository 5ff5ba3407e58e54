-- Whom a sync of attached sources acts as where it calls what is the table's owner's: nobody.
--
-- The functions that read a user's table belong to that table's owner, who may change them. Whoever
-- called them would lend them their rights: so they are called by functions of a role that has none
-- but to call. Where there cannot be one, only a table's owner may sync it.

DO $$
DECLARE
    others text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_sync') THEN
        BEGIN
            CREATE ROLE pipeline_sync NOLOGIN;
            COMMENT ON ROLE pipeline_sync IS 'Made by pipeline migrate.';
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'this login may not make the role pipeline_sync, so attached tables '
                    'are synced by their owners alone' USING HINT = format(
                    'CREATE ROLE pipeline_sync; GRANT pipeline_sync TO %I', current_user);
                RETURN;
        END;
    END IF;
    SELECT string_agg(quote_ident(member.rolname), ', ' ORDER BY member.rolname) INTO others
    FROM pg_auth_members AS m JOIN pg_roles AS member ON member.oid = m.member
    WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = 'pipeline_sync')
      AND NOT member.rolsuper AND member.rolname <> current_user;
    IF others IS NOT NULL THEN
        RAISE WARNING '% may act as pipeline_sync, so it is not used, and attached tables are synced '
            'by their owners alone', others
            USING HINT = format('REVOKE pipeline_sync FROM %s CASCADE', others);
        RETURN;
    END IF;
    BEGIN
        IF NOT pg_has_role('pipeline_sync', 'USAGE') THEN
            EXECUTE format('GRANT pipeline_sync TO %I', current_user);
        END IF;
        GRANT USAGE, CREATE ON SCHEMA @schema@ TO pipeline_sync;
        ALTER FUNCTION @schema@.compare_attached(integer) SECURITY DEFINER;
        ALTER FUNCTION @schema@.compare_attached(integer) OWNER TO pipeline_sync;
        ALTER FUNCTION @schema@.sync_attached(integer, text[]) SECURITY DEFINER;
        ALTER FUNCTION @schema@.sync_attached(integer, text[]) OWNER TO pipeline_sync;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'this login may not act as pipeline_sync, so attached tables are synced by '
            'their owners alone' USING HINT = format('GRANT pipeline_sync TO %I', current_user);
        RETURN;
    END;
    REVOKE CREATE ON SCHEMA @schema@ FROM pipeline_sync;
    GRANT SELECT ON @schema@.attached_sources TO pipeline_sync;
END $$;
