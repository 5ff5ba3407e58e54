-- Bringing source_items up to date with what is attached: for some keys, or after a comparison of
-- all.

CREATE OR REPLACE FUNCTION @schema@.note_attached_problem(
    attachment integer, problem text, is_warning boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Nobody waits for anybody here, so there is a row for each transaction.
    INSERT INTO @schema@.attached_source_problems (attachment_id, problem)
    SELECT attachment, note_attached_problem.problem
    WHERE NOT EXISTS (
        SELECT FROM @schema@.attached_source_problems AS p
        WHERE p.attachment_id = attachment AND p.problem = note_attached_problem.problem
          AND p.noted_at = now());
    IF is_warning THEN
        RAISE WARNING 'the items of % do not follow: %',
            (SELECT s.name FROM @schema@.attached_sources AS s WHERE s.id = attachment), problem
            USING HINT = 'pipeline sync repairs it.';
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'the items of attached source % do not follow: %, %', attachment, problem,
        SQLERRM USING HINT = 'pipeline sync repairs it.';
END $$;
COMMENT ON FUNCTION @schema@.note_attached_problem(integer, text, boolean) IS
    'Notes that an attached source needs a sync, and why.';

CREATE OR REPLACE FUNCTION @schema@.attached_source(name text) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer integer := (SELECT s.id FROM @schema@.attached_sources AS s WHERE s.name = $1);
BEGIN
    IF answer IS NULL THEN
        RAISE EXCEPTION 'there is no attached source %', quote_nullable(name) USING
            ERRCODE = 'no_data_found', HINT = coalesce('There are: ' || (
                SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM @schema@.attached_sources AS s
            ) || '.', 'Nothing is attached: see attach_source().');
    END IF;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.attached_source(text) IS 'The number of an attached source.';

CREATE OR REPLACE FUNCTION @schema@.check_may_sync() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- An old snapshot would bring back what changed since.
        RAISE EXCEPTION 'a sync cannot run in a % transaction',
            current_setting('transaction_isolation') USING
            ERRCODE = 'invalid_transaction_state',
            HINT = 'Run it in READ COMMITTED, which is the default.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_may_sync() IS
    'Raises where the transaction does not see what others commit meanwhile.';

CREATE OR REPLACE FUNCTION @schema@.attached_problems(attachment integer) RETURNS bigint[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(array_agg(p.id), '{}') FROM @schema@.attached_source_problems AS p
    WHERE p.attachment_id = attachment $$;
COMMENT ON FUNCTION @schema@.attached_problems(integer) IS
    'The problems of an attached source that a sync of all of it solves.';

CREATE OR REPLACE FUNCTION @schema@.sync_source(
    name text, keys text[] DEFAULT NULL,
    OUT added bigint, OUT changed bigint, OUT removed bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    attachment integer := @schema@.attached_source(name);
    problems   bigint[] := @schema@.attached_problems(attachment);
    before     record;
    chunk      text[];
    done       record;
    left_out   bigint := 0;
BEGIN
    PERFORM @schema@.check_may_sync();
    PERFORM @schema@.check_is_owner(attachment);
    PERFORM @schema@.renew_attached_triggers(attachment);
    PERFORM @schema@.renew_quick_statements(attachment);
    added := 0; changed := 0; removed := 0;
    IF keys IS NULL THEN
        SELECT * INTO before FROM @schema@.attached_seen(attachment);
        IF before.is_unchanged AND problems = '{}' THEN
            PERFORM @schema@.note_synced(attachment, problems, before.seen);
            RETURN;
        END IF;
    END IF;
    FOR chunk IN
        SELECT array_agg(c.k) FROM (
            SELECT k, (row_number() OVER () - 1) / 10000 AS batch
            FROM @schema@.compare_attached(attachment) AS k WHERE sync_source.keys IS NULL
            UNION ALL
            SELECT k, (n - 1) / 10000 FROM unnest(sync_source.keys) WITH ORDINALITY AS u (k, n)
        ) AS c GROUP BY c.batch
    LOOP
        SELECT * INTO done FROM @schema@.sync_attached(attachment, chunk);
        added := added + done.added;
        changed := changed + done.changed;
        removed := removed + done.removed;
        left_out := left_out + done.left_out;
    END LOOP;
    PERFORM @schema@.note_left_out(attachment, left_out);
    IF keys IS NULL THEN
        PERFORM @schema@.note_synced(attachment, problems, before.seen);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.sync_source(text, text[]) IS
    'Makes source_items what an attached source says, for these keys of its rows or for all: how '
    'many were added, changed and removed. For many rows rather CALL backfill_source(name).';

CREATE OR REPLACE FUNCTION @schema@.note_left_out(attachment integer, rows bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Whoever was changing them has seen to it, unless they rolled back.
    IF rows > 0 THEN
        PERFORM @schema@.note_attached_problem(attachment,
            format('%s of its rows were being changed during the last sync', rows));
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.note_left_out(integer, bigint) IS
    'Notes that a sync left out so many rows of an attached source.';

CREATE OR REPLACE FUNCTION @schema@.note_synced(
    attachment integer, problems bigint[], seen jsonb) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM @schema@.attached_source_problems AS p
    WHERE p.attachment_id = attachment AND p.id = ANY (problems);
    SELECT @schema@.note_attached_parts(attachment);
    UPDATE @schema@.attached_sources AS s SET synced_at = now(), seen = note_synced.seen
    WHERE s.id = attachment
$$;
COMMENT ON FUNCTION @schema@.note_synced(integer, bigint[], jsonb) IS
    'Notes that an attached source was compared, after these problems, and what there was of it.';

CREATE OR REPLACE PROCEDURE @schema@.backfill_source(
    name text, batch integer DEFAULT 2000,
    INOUT added bigint DEFAULT 0, INOUT changed bigint DEFAULT 0, INOUT removed bigint DEFAULT 0,
    whole boolean DEFAULT true)
-- No setting of its own, since it commits: all is named in full.
LANGUAGE plpgsql
AS $$
DECLARE
    attachment integer := @schema@.attached_source(name);
    problems   bigint[] := @schema@.attached_problems(attachment);
    before     record;
    chunk      text[];
    total      bigint := 0;
    left_out   bigint := 0;
    done       record;
BEGIN
    IF batch IS NULL OR batch OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION 'batch is %, and must be at least 1', batch USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @schema@.check_may_sync();
    PERFORM @schema@.check_is_owner(attachment);
    PERFORM @schema@.renew_attached_triggers(attachment);
    PERFORM @schema@.renew_quick_statements(attachment);
    COMMIT;  -- which lets those write again who wait for it
    added := 0; changed := 0; removed := 0;
    SELECT b.* INTO before FROM @schema@.attached_seen(attachment) AS b;
    IF before.is_unchanged AND NOT whole AND pg_catalog.cardinality(problems)
        OPERATOR(pg_catalog.=) 0
    THEN
        PERFORM @schema@.note_synced(attachment, problems, before.seen);
        RETURN;
    END IF;
    FOR chunk IN
        SELECT pg_catalog.array_agg(c.k) FROM (
            SELECT k, (pg_catalog.row_number() OVER () OPERATOR(pg_catalog.-) 1)
                OPERATOR(pg_catalog./) batch AS batch
            FROM @schema@.compare_attached(attachment) AS k
        ) AS c GROUP BY c.batch
    LOOP
        SELECT d.* INTO done FROM @schema@.sync_attached(attachment, chunk) AS d;
        COMMIT;
        added := added OPERATOR(pg_catalog.+) done.added;
        changed := changed OPERATOR(pg_catalog.+) done.changed;
        removed := removed OPERATOR(pg_catalog.+) done.removed;
        left_out := left_out OPERATOR(pg_catalog.+) done.left_out;
        total := total OPERATOR(pg_catalog.+) pg_catalog.cardinality(chunk);
        RAISE NOTICE '% rows of % done', total, name;
    END LOOP;
    PERFORM @schema@.note_left_out(attachment, left_out);
    PERFORM @schema@.note_synced(attachment, problems, before.seen);
END $$;
COMMENT ON PROCEDURE @schema@.backfill_source(text, integer, bigint, bigint, bigint, boolean) IS
    'sync_source() of all rows, which commits after each batch: it may be stopped and called '
    'again. A notice says how far it is; gives how many were added, changed and removed. All rows '
    'are compared, or with whole => false only where any changed since the last sync.';
