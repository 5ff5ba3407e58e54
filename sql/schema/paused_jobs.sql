-- Nobody begins a job of a space that is paused.
--
-- Here, and not in the statement that claims, so that workers of every release keep to it: to one
-- that does not know of pauses the jobs look as if somebody had them locked. What was claimed before
-- goes on, and so does what is embedded already and only to be written (pipeline/queue/given.py).

CREATE OR REPLACE FUNCTION @schema@.hold_paused_job() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM @schema@.embedding_spaces AS s
        WHERE s.id = NEW.space_id AND s.paused_at IS NOT NULL
    ) AND current_setting('pipeline.is_embedded', true) IS DISTINCT FROM 'on' THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION @schema@.hold_paused_job() IS
    'Leaves a job of a paused space as it is, instead of letting it be claimed.';

CREATE OR REPLACE TRIGGER ingest_jobs_paused BEFORE UPDATE OF state ON @schema@.ingest_jobs
    FOR EACH ROW WHEN (((new.state = 'running'::text) AND (old.state = 'pending'::text)))
    EXECUTE FUNCTION @schema@.hold_paused_job();
