-- A space that workers leave alone for a while. Its rows are queued meanwhile as ever.
--
-- Whoever may do what a worker does may say so: they could keep its jobs from everybody anyhow.

CREATE OR REPLACE FUNCTION @schema@.check_space_is_known(space text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM @schema@.embedding_spaces AS s WHERE s.name = space) THEN
        RAISE EXCEPTION 'there is no space %', quote_nullable(space) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'See the view space_status.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_space_is_known(text) IS 'Raises where there is no such space.';

CREATE OR REPLACE FUNCTION @schema@.pause_space(space text, why text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz;
BEGIN
    PERFORM @schema@.check_space_is_known(space);
    UPDATE @schema@.embedding_spaces AS s SET
        paused_at = coalesce(s.paused_at, now()),
        paused_by = coalesce(s.paused_by, session_user),
        paused_why = coalesce(why, s.paused_why)
    WHERE s.name = space RETURNING s.paused_at INTO since;
    RETURN since;
END $$;
COMMENT ON FUNCTION @schema@.pause_space(text, text) IS
    'Lets workers claim no more jobs of the space, until resume_space(); gives since when. What they '
    'have in hand they finish. Once more: only the reason changes, where one is given.';

CREATE OR REPLACE FUNCTION @schema@.resume_space(space text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was_paused boolean;
BEGIN
    PERFORM @schema@.check_space_is_known(space);
    UPDATE @schema@.embedding_spaces AS s SET
        paused_at = NULL, paused_by = NULL, paused_why = NULL
    WHERE s.name = space AND s.paused_at IS NOT NULL;
    was_paused := FOUND;
    PERFORM @schema@.wake_workers();
    RETURN was_paused;
END $$;
COMMENT ON FUNCTION @schema@.resume_space(text) IS
    'Ends pause_space() and wakes the workers that wait; gives whether it was paused.';
