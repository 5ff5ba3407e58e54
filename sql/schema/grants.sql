-- What the roles may; docs/security.md says the same in words.
--
-- A paragraph is run once in a database: what an administrator takes from a role afterwards stays
-- taken, so that no release gives it back. One that was changed is run again, with all that stands
-- in it; so what is new, or was dropped and made again, gets a paragraph of its own.

GRANT USAGE ON SCHEMA @schema@ TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT SELECT ON @schema@.multimodal_items, @schema@.source_items, @schema@.known_modalities,
    @schema@.embedding_spaces, @schema@.space_modalities, @schema@.space_probes,
    @schema@.space_tunings, @schema@.space_evaluations, @schema@.installed_sql, @schema@.ingest_status,
    @schema@.ingest_failures, @schema@.unsupported_source_items, @schema@.item_catalog,
    @schema@.space_status
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT EXECUTE ON FUNCTION @schema@.text_embedding(text, interval),
    @schema@.text_embeddings(text[], interval), @schema@.ask_for_query_embeddings(text[]),
    @schema@.query_embeddings_missing(text[]), @schema@.space_items()
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT INSERT, UPDATE, DELETE ON @schema@.source_items, @schema@.multimodal_items,
    @schema@.ingest_jobs, @schema@.query_embeddings
    TO pipeline_ingest, pipeline_owner;

GRANT SELECT ON @schema@.ingest_jobs, @schema@.query_embeddings
    TO pipeline_ingest, pipeline_owner;

GRANT SELECT, INSERT ON @schema@.media_roots TO pipeline_ingest, pipeline_owner;

GRANT DELETE ON @schema@.media_roots TO pipeline_owner;

GRANT UPDATE (item_count, mean, recall, ef_search, measured_at) ON @schema@.space_modalities
    TO pipeline_ingest, pipeline_owner;

GRANT USAGE, SELECT ON SEQUENCE @schema@.multimodal_items_id_seq, @schema@.ingest_job_versions
    TO pipeline_ingest, pipeline_owner;

GRANT EXECUTE ON FUNCTION @schema@.enqueue_source_items(bigint[])
    TO pipeline_ingest, pipeline_owner;

GRANT INSERT, UPDATE, DELETE ON @schema@.embedding_spaces, @schema@.space_modalities,
    @schema@.space_probes, @schema@.space_tunings, @schema@.space_evaluations
    TO pipeline_owner;

GRANT SELECT ON @schema@.query_servers TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT INSERT, DELETE ON @schema@.query_servers TO pipeline_ingest, pipeline_owner;

GRANT EXECUTE ON FUNCTION @schema@.reopen_source_items(bigint[])
    TO pipeline_ingest, pipeline_owner;

-- Which revision the tables are at, for `pipeline doctor`.
GRANT SELECT ON @schema@.pipeline_alembic_version
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

-- Which model a space has, and so what a worker opens, is for the role that made it.
REVOKE INSERT, UPDATE, DELETE ON @schema@.embedding_spaces FROM pipeline_owner;

GRANT UPDATE (ef_search, probed_with) ON @schema@.embedding_spaces TO pipeline_owner;

GRANT SELECT ON @schema@.deleted_items TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT DELETE ON @schema@.deleted_items TO pipeline_ingest, pipeline_owner;

GRANT SELECT ON @schema@.attached_sources, @schema@.attached_source_problems,
    @schema@.attached_source_status
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT INSERT, UPDATE, DELETE ON @schema@.attached_sources, @schema@.attached_source_problems
    TO pipeline_ingest, pipeline_owner;

GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.attached_objects, @schema@.attached_listing_pages
    TO pipeline_ingest, pipeline_owner;

-- The tables of spaces that are older than the roles; those of later ones: items_grants.sql.
DO $$
DECLARE
    items regclass;
BEGIN
    FOR items IN
        SELECT @schema@.items_table(m.space_id, m.modality) FROM @schema@.space_modalities AS m
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s '
                           'TO pipeline_ingest, pipeline_owner', items);
        END IF;
    END LOOP;
END $$;

-- Who may search by a text may search by a file; whoever serves takes it from there.
GRANT EXECUTE ON FUNCTION @schema@.ask_for_file_embedding(bytea), @schema@.file_embedding(uuid),
    @schema@.forget_file(uuid)
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT SELECT, UPDATE, DELETE ON @schema@.query_files TO pipeline_ingest, pipeline_owner;

GRANT EXECUTE ON FUNCTION @schema@.empty_query_files() TO pipeline_ingest, pipeline_owner;

-- One that runs behind a pooler says so again and again.
GRANT UPDATE (seen_at) ON @schema@.query_servers TO pipeline_ingest, pipeline_owner;

-- Whoever ingests measures the indexes that grew by it.
GRANT INSERT, UPDATE ON @schema@.space_tunings TO pipeline_ingest;

GRANT INSERT, DELETE ON @schema@.space_evaluations TO pipeline_ingest;

-- Taken first, so that it stands behind the owner's, however often this is run.
REVOKE UPDATE (ef_search, target_recall) ON @schema@.embedding_spaces FROM pipeline_ingest;
GRANT UPDATE (ef_search, target_recall) ON @schema@.embedding_spaces TO pipeline_ingest;

GRANT UPDATE (target_recall) ON @schema@.embedding_spaces TO pipeline_owner;

-- Whoever may do what a worker does may tell them to wait. Taken first, as above.
REVOKE UPDATE (paused_at, paused_by, paused_why) ON @schema@.embedding_spaces FROM pipeline_ingest;
GRANT UPDATE (paused_at, paused_by, paused_why) ON @schema@.embedding_spaces TO pipeline_ingest;

GRANT UPDATE (paused_at, paused_by, paused_why) ON @schema@.embedding_spaces TO pipeline_owner;

-- Who may search turns the query by it.
GRANT SELECT ON @schema@.space_rotations TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT SELECT ON @schema@.embedded_modalities, @schema@.item_moments
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

-- Whoever writes the first item of a modality that the space derives.
GRANT EXECUTE ON FUNCTION @schema@.make_derived_items(integer, text)
    TO pipeline_ingest, pipeline_owner;

-- What runs did is for whoever may look at the queue's state; whoever works says it.
GRANT SELECT ON @schema@.ingest_runs TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT INSERT, DELETE ON @schema@.ingest_runs TO pipeline_ingest, pipeline_owner;

-- Who works is for whoever may read the queue, which names workers too.
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.ingest_workers TO pipeline_ingest, pipeline_owner;
