-- Nobody but their owner may call what runs with the owner's rights, or leads there, unless
-- grants.sql says so.
--
-- PostgreSQL lets PUBLIC call every new function, and ALTER DEFAULT PRIVILEGES, as hosted platforms
-- set it, may let others too: so it is taken from whoever has it, at every install. From the
-- functions that are there to be called only what is given by default is taken, where they are made
-- now: what an administrator gave stays.

DO $$
DECLARE
    given  record;
    before oid[] := coalesce(
        nullif(current_setting('pipeline.there_before', true), ''), '{}')::oid[];
BEGIN
    FOR given IN
        SELECT f.signature, a.grantee
        FROM (VALUES
            ('@schema@.text_embedding(text, interval)', true, '{}'),
            ('@schema@.text_embeddings(text[], interval)', true, '{}'),
            ('@schema@.space_items()', true, '{}'),
            ('@schema@.ask_for_query_embeddings(text[])', true, '{}'),
            ('@schema@.query_embeddings_missing(text[])', true, '{}'),
            ('@schema@.ask_for_file_embedding(bytea)', true, '{}'),
            ('@schema@.file_embedding(uuid)', true, '{}'),
            ('@schema@.forget_file(uuid)', true, '{}'),
            ('@schema@.empty_query_files()', true, '{}'),
            ('@schema@.cached_query_embeddings(text[])', false, '{}'),
            ('@schema@.enqueue_source_items(bigint[])', false, '{pipeline_ingest,pipeline_owner}'),
            ('@schema@.reopen_source_items(bigint[])', false, '{pipeline_ingest,pipeline_owner}'),
            ('@schema@.make_derived_items(integer, text)', false, '{pipeline_ingest,pipeline_owner}'),
            ('@schema@.loopback_ask(text[], text, text, text)', true, '{}'),
            ('@schema@.loopback_answers(text[], text)', true, '{}'),
            ('@schema@.loopback_touch(text[], text)', true, '{}'),
            ('@schema@.loopback_connection()', false, '{}'),
            ('@schema@.run_by_loopback(text)', false, '{}'),
            ('@schema@.try_by_loopback(text)', false, '{}'),
            ('@schema@.text_embeddings_by_loopback(text[], interval)', false, '{}'),
            ('@schema@.touch_query_embeddings(text[])', false, '{}'),
            ('@schema@.request_query_embeddings(text[], text, text)', false, '{}'),
            ('@schema@.source_items_inserted()', false, '{}'),
            ('@schema@.source_items_updated()', false, '{}'),
            ('@schema@.source_items_deleted()', false, '{}'),
            ('@schema@.source_items_truncated()', false, '{}'),
            ('@schema@.multimodal_items_deleted()', false, '{}'),
            ('@schema@.multimodal_items_compact()', false, '{}')
        ) AS f (signature, is_called_by_others, roles)
        JOIN pg_proc AS p ON p.oid = to_regprocedure(f.signature)
        CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE a.grantee <> p.proowner AND CASE WHEN f.is_called_by_others
            THEN a.grantee = 0 OR p.oid <> ALL (before) AND a.grantee IN (
                SELECT d.grantee FROM pg_default_acl AS given_by_default
                CROSS JOIN aclexplode(given_by_default.defaclacl) AS d
                WHERE given_by_default.defaclobjtype = 'f'
                  AND given_by_default.defaclrole = p.proowner
                  AND given_by_default.defaclnamespace IN (0, p.pronamespace))
            ELSE a.grantee <> ALL (
                SELECT oid FROM pg_roles WHERE rolname = ANY (f.roles::name[])) END
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', given.signature,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$;
