-- What default privileges give of our tables is taken back.
--
-- ALTER DEFAULT PRIVILEGES, as hosted platforms set it, gives others all rights on what is made. Who
-- has TRIGGER on a table that our functions write acts as their owner; who can read query_embeddings
-- sees what others searched for. So from whoever default privileges name, our roles as well, before
-- grants.sql gives them theirs; and of what is made now, since what is there already an administrator
-- may have given by name.

CREATE OR REPLACE FUNCTION @schema@.take_default_rights(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, a.grantee
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.oid = relation AND a.grantee <> c.relowner AND a.grantee IN (
            SELECT d.grantee FROM pg_default_acl AS given_by_default
            CROSS JOIN aclexplode(given_by_default.defaclacl) AS d
            WHERE given_by_default.defaclobjtype IN ('r', 'S')
              AND given_by_default.defaclrole = c.relowner
              AND given_by_default.defaclnamespace IN (0, c.relnamespace))
        GROUP BY 1, 2
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', taken.kind, relation,
            CASE taken.grantee WHEN 0 THEN 'PUBLIC' ELSE taken.grantee::regrole::text END);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.take_default_rights(regclass) IS
    'Takes the rights on a table, view or sequence from whoever default privileges give them to.';

DO $$
DECLARE
    relation regclass;
    before   oid[] := coalesce(
        nullif(current_setting('pipeline.there_before', true), ''), '{}')::oid[];
BEGIN
    FOR relation IN
        WITH tables AS (
            SELECT to_regclass(name) AS oid FROM unnest(ARRAY[
                '@schema@.attached_listing_pages', '@schema@.attached_objects',
                '@schema@.attached_source_problems', '@schema@.attached_source_status',
                '@schema@.attached_sources', '@schema@.deleted_items',
                '@schema@.embedded_modalities', '@schema@.embedding_spaces',
                '@schema@.ingest_failures',
                '@schema@.ingest_job_versions',
                '@schema@.ingest_jobs', '@schema@.ingest_runs', '@schema@.ingest_status',
                '@schema@.ingest_workers', '@schema@.installed_sql',
                '@schema@.item_catalog', '@schema@.item_moments', '@schema@.known_modalities',
                '@schema@.media_roots',
                '@schema@.multimodal_items', '@schema@.pipeline_alembic_version',
                '@schema@.query_embeddings', '@schema@.query_files', '@schema@.query_servers',
                '@schema@.source_items',
                '@schema@.space_evaluations', '@schema@.space_modalities', '@schema@.space_probes',
                '@schema@.space_rotations', '@schema@.space_status', '@schema@.space_tunings',
                '@schema@.unsupported_source_items']) AS n (name)
            UNION
            SELECT @schema@.items_table(m.space_id, m.modality) FROM @schema@.space_modalities AS m
        )
        SELECT t.oid FROM tables AS t WHERE t.oid <> ALL (before)
        UNION
        SELECT d.objid FROM tables AS t JOIN pg_depend AS d
            ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
        JOIN pg_class AS s ON d.classid = 'pg_class'::regclass AND s.oid = d.objid AND s.relkind = 'S'
        WHERE s.oid <> ALL (before)
    LOOP
        PERFORM @schema@.take_default_rights(relation);
    END LOOP;
END $$;

-- The tables of a space are made long after.
CREATE OR REPLACE FUNCTION @schema@.take_default_rights_of_items() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM @schema@.take_default_rights(items)
    FROM @schema@.items_table(NEW.space_id, NEW.modality) AS items WHERE items IS NOT NULL;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.take_default_rights_of_items() IS
    'Lets default privileges give nobody a right on the tables of a new space.';

CREATE OR REPLACE TRIGGER space_modalities_default_rights AFTER INSERT ON @schema@.space_modalities
    FOR EACH ROW EXECUTE FUNCTION @schema@.take_default_rights_of_items();
