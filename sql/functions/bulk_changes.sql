-- Changes of many rows that an application may hold as well. They take what is free and give back
-- the rest, which is tried again a little later: whoever waits for a row while it holds another one
-- is in somebody's way. See pipeline/postgres/piecewise.py.
--
-- Locks are taken in one order: the source items (their table first, as TRUNCATE does), then jobs,
-- then items.

CREATE OR REPLACE FUNCTION @schema@.jobs_of_others(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    theirs bigint[];
BEGIN
    WITH free AS MATERIALIZED (
        SELECT j.space_id, j.source_id FROM @schema@.ingest_jobs AS j
        WHERE j.source_id = ANY (ids)
          AND j.space_id IN (SELECT e.id FROM @schema@.embedding_spaces AS e)
        ORDER BY j.space_id, j.source_id FOR UPDATE SKIP LOCKED
    )
    SELECT array_agg(DISTINCT j.source_id) INTO theirs FROM @schema@.ingest_jobs AS j
    WHERE j.source_id = ANY (ids)
      AND j.space_id IN (SELECT e.id FROM @schema@.embedding_spaces AS e)
      AND NOT EXISTS (
          SELECT FROM free AS f WHERE (f.space_id, f.source_id) = (j.space_id, j.source_id));
    RETURN coalesce(theirs, '{}');
END $$;
COMMENT ON FUNCTION @schema@.jobs_of_others(bigint[]) IS
    'Locks the jobs of these source items that nobody else has locked; returns the source items of '
    'the others.';

CREATE OR REPLACE FUNCTION @schema@.reopen_source_items(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    free   bigint[];
    theirs bigint[];
BEGIN
    PERFORM @schema@.check_sees_all_rows();
    -- Against whoever changes the row, or opens a job for it; not against foreign keys to it.
    SELECT coalesce(array_agg(f.id), '{}') INTO free FROM (
        SELECT s.id FROM @schema@.source_items AS s WHERE s.id = ANY (ids)
        ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED) AS f;
    theirs := @schema@.jobs_of_others(free);
    PERFORM @schema@.enqueue_source_items(ARRAY(
        SELECT f.id FROM unnest(free) AS f (id) WHERE f.id <> ALL (theirs)));
    RETURN ARRAY(
        SELECT s.id FROM @schema@.source_items AS s
        WHERE s.id = ANY (ids) AND (s.id <> ALL (free) OR s.id = ANY (theirs)) ORDER BY s.id);
END $$;
COMMENT ON FUNCTION @schema@.reopen_source_items(bigint[]) IS
    'Creates or re-opens the jobs of those of these source items that nobody else has locked; '
    'returns the others.';

CREATE OR REPLACE FUNCTION @schema@.remove_gone(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    theirs  bigint[];
    free    bigint[];
    present bigint[];
    of_them text[];
BEGIN
    PERFORM @schema@.check_sees_all_rows();
    PERFORM FROM @schema@.source_items AS s WHERE s.id = ANY (ids) LIMIT 1;  -- its lock comes first
    theirs := @schema@.jobs_of_others(ids);
    free := ARRAY(SELECT u.id FROM unnest(ids) AS u (id) WHERE u.id <> ALL (theirs));
    -- Those that are gone still: an application may have been quicker.
    SELECT coalesce(array_agg(s.id), '{}'), coalesce(array_agg(s.modality), '{}')
    INTO present, of_them FROM @schema@.source_items AS s WHERE s.id = ANY (free);
    PERFORM @schema@.withdraw_source_items(present, of_them);
    PERFORM @schema@.remove_source_items(ARRAY(
        SELECT u.id FROM unnest(free) AS u (id) WHERE u.id <> ALL (present)));
    RETURN theirs;
END $$;
COMMENT ON FUNCTION @schema@.remove_gone(bigint[]) IS
    'Removes the jobs and the items of those of these source items that are no longer there, or no '
    'longer of a modality that the space has, unless somebody else has their jobs locked; returns '
    'those.';
