-- Statement-level triggers on source_items keep the queue and the items: a job for every space that
-- has the row's modality, and nothing left of what is gone.
--
-- One call per statement, however many rows it loads. The order of locks is always source row, job,
-- item, and keys ascending, as in the worker's finish, so that the two cannot deadlock.
--
-- The functions run with their owner's rights: whoever may write source_items needs no right on the
-- queue or on the items.

CREATE OR REPLACE FUNCTION @schema@.check_is_source_items(triggered regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Whoever could put such a trigger on a table of their own would act as its functions' owner.
    IF triggered <> '@schema@.source_items'::regclass THEN
        RAISE EXCEPTION '% is not source_items', triggered USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'The pipeline''s trigger functions work on its own table alone.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_is_source_items(regclass) IS
    'Raises where a trigger function is called for another table.';

CREATE OR REPLACE FUNCTION @schema@.check_sees_spaces() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A snapshot that lasts may be older than a space, and what is changed under it would be missed
    -- there. Names of tables, and sequences, are of this moment whatever the snapshot.
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
        AND EXISTS (
            SELECT FROM (
                SELECT newer.id, k.name AS modality FROM generate_series(
                    (SELECT coalesce(max(e.id), 0) + 1 FROM @schema@.embedding_spaces AS e),
                    pg_sequence_last_value(
                        pg_get_serial_sequence('@schema@.embedding_spaces', 'id')::regclass)
                ) AS newer (id) CROSS JOIN @schema@.known_modalities AS k
                UNION ALL  -- and than the first item of a modality that a space derives
                (SELECT m.space_id, k.name FROM @schema@.known_modalities AS k
                 JOIN @schema@.space_modalities AS m ON m.modality = k.derived_from
                 EXCEPT SELECT m.space_id, m.modality FROM @schema@.space_modalities AS m)
            ) AS newer
            CROSS JOIN LATERAL to_regclass(format('@schema@.%I',
                format('multimodal_items_%s_s%s', newer.modality, newer.id))) AS items
            -- A space and its tables are made together: one that the snapshot sees without its
            -- space is somebody else's, by such a name.
            WHERE items IS NOT NULL
              AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = items))
    THEN
        RAISE EXCEPTION 'a space was created or got a table since this transaction began' USING
            ERRCODE = 'serialization_failure',
            HINT = 'Run the transaction again.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_sees_spaces() IS
    'Raises where the transaction''s snapshot is older than a space, or than one of its tables.';

CREATE OR REPLACE FUNCTION @schema@.refuse_modalities(names text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'there is no modality %',
        (SELECT string_agg(quote_literal(n), ', ' ORDER BY n) FROM unnest(names) AS n)
        USING ERRCODE = 'check_violation', CONSTRAINT = 'source_items_modality_known',
        TABLE = 'source_items', COLUMN = 'modality',
        DETAIL = format('There are: %s.', (
            SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM @schema@.known_modalities AS k)),
        HINT = 'Write one of these; another one is a row of known_modalities first.';
END $$;
COMMENT ON FUNCTION @schema@.refuse_modalities(text[]) IS
    'Raises, naming the modalities that are known.';

CREATE OR REPLACE FUNCTION @schema@.open_jobs(ids bigint[], modalities text[], changed boolean)
RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    -- The source items themselves are not read: a policy could hide them, and SERIALIZABLE would
    -- have every two transactions that write neighbours of them depend on each other.
    -- Nor is the view embedded_modalities, which says the same: a migration that renews it would
    -- wait for whoever wrote a source item and has not committed.
    WITH embedded AS (
        SELECT m.space_id, m.modality FROM @schema@.space_modalities AS m
        UNION
        SELECT m.space_id, k.name FROM @schema@.known_modalities AS k
        JOIN @schema@.space_modalities AS m ON m.modality = k.derived_from
    ),
    wanted AS (
        SELECT m.space_id, s.id AS source_id
        FROM ROWS FROM (unnest(ids), unnest(modalities)) AS s (id, modality)
        JOIN embedded AS m ON m.modality = s.modality
    ),
    opened AS (
        INSERT INTO @schema@.ingest_jobs AS j (space_id, source_id, content_changed)
        SELECT w.space_id, w.source_id, changed FROM wanted AS w ORDER BY w.space_id, w.source_id
        ON CONFLICT (space_id, source_id) DO UPDATE SET
            version = nextval('@schema@.ingest_job_versions'), state = 'pending', attempts = 0,
            -- A row that waits keeps its place, however often it changes; one that was claimed or
            -- backs off begins anew, and so does a suspect (see pipeline/queue/claims.py).
            run_after = CASE WHEN j.state = 'pending' AND j.run_after > 'epoch'
                THEN least(j.run_after, now()) ELSE now() END,
            leased_until = NULL, worker = NULL,
            error_code = NULL, error = NULL,
            content_changed = j.content_changed OR excluded.content_changed
        RETURNING 1
    )
    SELECT count(*) FROM opened
$$;
COMMENT ON FUNCTION @schema@.open_jobs(bigint[], text[], boolean) IS
    'Creates or re-opens the jobs of source items of these ids and modalities, in every space that '
    'has these, and says in them whether their content changed; returns how many. Whoever calls it '
    'holds the source items.';

CREATE OR REPLACE FUNCTION @schema@.enqueue_source_items(ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM @schema@.check_sees_all_rows();
    -- Not while somebody changes them: whoever changes metadata alone writes the items, so that no
    -- worker may have them in hand.
    PERFORM FROM @schema@.source_items AS s WHERE s.id = ANY (ids) ORDER BY s.id FOR SHARE;
    RETURN (SELECT @schema@.open_jobs(array_agg(s.id), array_agg(s.modality), false)
            FROM @schema@.source_items AS s WHERE s.id = ANY (ids));
END $$;
COMMENT ON FUNCTION @schema@.enqueue_source_items(bigint[]) IS
    'Creates or re-opens the jobs of these source items, in every space that has their modality; '
    'returns how many.';

CREATE OR REPLACE FUNCTION @schema@.may_notify() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
-- Who waits begins sooner; polling is the truth. So not where it could make the application's
-- transaction fail: one that notifies cannot be prepared, and none commits while the queue, which
-- any login can fill, is full.
RETURN current_setting('max_prepared_transactions')::integer = 0
    AND pg_notification_queue_usage() < 0.5;
COMMENT ON FUNCTION @schema@.may_notify() IS 'Whether a notification cannot fail the transaction.';

CREATE OR REPLACE FUNCTION @schema@.wake_workers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF @schema@.may_notify() THEN
        NOTIFY ingest_jobs;
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.wake_workers() IS
    'Notifies workers that wait, unless that may fail the transaction.';

CREATE OR REPLACE FUNCTION @schema@.lock_jobs(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM @schema@.ingest_jobs AS j
    WHERE j.source_id = ANY (ids)
      AND j.space_id IN (SELECT e.id FROM @schema@.embedding_spaces AS e)  -- the index begins so
    ORDER BY j.space_id, j.source_id FOR UPDATE;
END $$;
COMMENT ON FUNCTION @schema@.lock_jobs(bigint[]) IS
    'Locks the jobs of these source items in every space, keys ascending.';

CREATE OR REPLACE FUNCTION @schema@.delete_items(space integer, ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    items regclass;
BEGIN
    FOR items IN
        SELECT @schema@.items_table(m.space_id, m.modality) FROM @schema@.space_modalities AS m
        WHERE m.space_id = space ORDER BY m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('DELETE FROM %s WHERE source_id = ANY ($1)', items) USING ids;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.delete_items(integer, bigint[]) IS
    'Removes the items of these source items from one space.';

CREATE OR REPLACE FUNCTION @schema@.remove_from_space(space integer, ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM @schema@.ingest_jobs AS j
    WHERE j.space_id = space AND j.source_id = ANY (ids);
    PERFORM @schema@.delete_items(space, ids);
END $$;
COMMENT ON FUNCTION @schema@.remove_from_space(integer, bigint[]) IS
    'Removes the jobs and the items of these source items from one space. Whoever calls it holds '
    'the jobs.';

CREATE OR REPLACE FUNCTION @schema@.remove_source_items(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    space integer;
BEGIN
    -- Jobs first: a worker that is writing holds the job; once it is through, its items are seen
    -- by the statements below, and if it comes later it finds no job and writes nothing.
    PERFORM @schema@.lock_jobs(ids);
    FOR space IN SELECT e.id FROM @schema@.embedding_spaces AS e ORDER BY e.id LOOP
        PERFORM @schema@.remove_from_space(space, ids);
    END LOOP;
    DELETE FROM @schema@.deleted_items AS d WHERE d.source_id = ANY (ids);
END $$;
COMMENT ON FUNCTION @schema@.remove_source_items(bigint[]) IS
    'Removes the jobs and the items of these source items from every space.';

CREATE OR REPLACE FUNCTION @schema@.withdraw_source_items(ids bigint[], modalities text[])
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lacking record;
BEGIN
    FOR lacking IN
        SELECT e.id AS space, array_agg(s.id ORDER BY s.id) AS ids
        FROM ROWS FROM (unnest(ids), unnest(modalities)) AS s (id, modality)
        CROSS JOIN @schema@.embedding_spaces AS e
        WHERE NOT EXISTS (
                SELECT FROM @schema@.space_modalities AS m
                WHERE m.space_id = e.id AND m.modality = s.modality)
            AND NOT EXISTS (
                SELECT FROM @schema@.known_modalities AS k
                JOIN @schema@.space_modalities AS m ON m.modality = k.derived_from
                WHERE m.space_id = e.id AND k.name = s.modality)
        GROUP BY e.id ORDER BY e.id
    LOOP
        PERFORM @schema@.remove_from_space(lacking.space, lacking.ids);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.withdraw_source_items(bigint[], text[]) IS
    'Removes the jobs and the items of source items of these ids and modalities from the spaces '
    'that lack the modality. Whoever calls it holds the jobs.';

CREATE OR REPLACE FUNCTION @schema@.source_items_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    strange text[];
BEGIN
    PERFORM @schema@.check_is_source_items(TG_RELID::regclass);
    PERFORM @schema@.check_sees_spaces();
    SELECT array_agg(DISTINCT n.modality) INTO strange FROM new_rows AS n
    WHERE NOT EXISTS (SELECT FROM @schema@.known_modalities AS k WHERE k.name = n.modality);
    IF strange IS NOT NULL THEN
        PERFORM @schema@.refuse_modalities(strange);
    END IF;
    -- A row that was lost without its trigger may have left a job under this id.
    IF (SELECT @schema@.open_jobs(array_agg(n.id), array_agg(n.modality), false)
        FROM new_rows AS n) > 0 THEN
        PERFORM @schema@.wake_workers();
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.source_items_inserted() IS
    'Creates the jobs of new source items, in every space that has their modality.';

CREATE OR REPLACE FUNCTION @schema@.retold_metadata(item jsonb, before jsonb, now jsonb)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(now) <> 'object' OR jsonb_typeof(item) <> 'object'
        -- What stands there is the user's own, where the intake had nothing to note.
        OR item -> '_pipeline' IS NOT DISTINCT FROM
            CASE jsonb_typeof(before) WHEN 'object' THEN before -> '_pipeline' END
    THEN now
    ELSE now || jsonb_build_object('_pipeline', item -> '_pipeline') END;
COMMENT ON FUNCTION @schema@.retold_metadata(jsonb, jsonb, jsonb) IS
    'The metadata of an item whose source item''s changed: the new one, with the intake''s notes.';

CREATE OR REPLACE FUNCTION @schema@.stop_work_on(ids bigint[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE @schema@.ingest_jobs AS j SET
        version = nextval('@schema@.ingest_job_versions'), state = 'pending', attempts = 0,
        run_after = now(), leased_until = NULL, worker = NULL
    WHERE j.source_id = ANY (ids) AND j.state = 'running'
      AND j.space_id IN (SELECT e.id FROM @schema@.embedding_spaces AS e)
$$;
COMMENT ON FUNCTION @schema@.stop_work_on(bigint[]) IS
    'Takes these source items from the workers that have them in hand, to be claimed anew. Whoever '
    'calls it holds the jobs.';

CREATE OR REPLACE FUNCTION @schema@.delete_outdated_items(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    outdated record;
BEGIN
    -- An item whose content is no longer so, under other metadata, would show one tenant what was
    -- another's; under the old it would stay with whom it is taken from.
    FOR outdated IN
        SELECT j.space_id, array_agg(j.source_id ORDER BY j.source_id) AS ids
        FROM @schema@.ingest_jobs AS j
        WHERE j.source_id = ANY (ids) AND j.content_changed
          AND j.space_id IN (SELECT e.id FROM @schema@.embedding_spaces AS e)
        GROUP BY j.space_id ORDER BY j.space_id
    LOOP
        PERFORM @schema@.delete_items(outdated.space_id, outdated.ids);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.delete_outdated_items(bigint[]) IS
    'Removes the items of those of these source items that wait with other content. Whoever calls '
    'it holds the jobs.';

CREATE OR REPLACE FUNCTION @schema@.source_items_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint[];
    their   text[];    -- modalities of those
    moved   bigint[];  -- those of another modality than before
    now_of  text[];    -- modalities of those
    retold  bigint[];  -- those of other metadata
    many    bigint[];  -- the same, where they are too many to be written here
    many_of text[];    -- modalities of those
    outdated bigint[]; -- both, of which some may wait with other content
    gone    bigint[];  -- of rows that have another id now
    strange text[];
    known   record;
    opened  bigint := 0;
    lacking bigint;
BEGIN
    PERFORM @schema@.check_is_source_items(TG_RELID::regclass);
    PERFORM @schema@.check_sees_spaces();
    SELECT array_agg(n.id ORDER BY n.id) FILTER (WHERE n.id IS NOT NULL
               AND (n.modality, n.content_ref) IS DISTINCT FROM (o.modality, o.content_ref)),
           array_agg(n.modality ORDER BY n.id) FILTER (WHERE n.id IS NOT NULL
               AND (n.modality, n.content_ref) IS DISTINCT FROM (o.modality, o.content_ref)),
           array_agg(n.id ORDER BY n.id) FILTER (
               WHERE n.id IS NOT NULL AND n.modality IS DISTINCT FROM o.modality),
           array_agg(n.modality ORDER BY n.id) FILTER (
               WHERE n.id IS NOT NULL AND n.modality IS DISTINCT FROM o.modality),
           -- Not of those whose content changed too: an item is of one version of its row.
           array_agg(n.id ORDER BY n.id) FILTER (WHERE n.metadata <> o.metadata
               AND (n.modality, n.content_ref) = (o.modality, o.content_ref)),
           array_agg(o.id ORDER BY o.id) FILTER (WHERE n.id IS NULL)
    INTO changed, their, moved, now_of, retold, gone
    FROM new_rows AS n FULL JOIN old_rows AS o USING (id);
    outdated := retold;
    IF cardinality(retold) > 1000 THEN
        -- Each enters its index again, which takes a millisecond or more of this transaction.
        SELECT array_agg(n.id ORDER BY n.id), array_agg(n.modality ORDER BY n.id)
        INTO many, many_of
        FROM new_rows AS n JOIN old_rows AS o USING (id)
        WHERE n.id = ANY (retold) AND NOT EXISTS (
            SELECT FROM @schema@.deleted_items AS d WHERE d.source_id = n.id);
        retold := NULL;
    END IF;
    IF moved IS NOT NULL THEN
        SELECT array_agg(DISTINCT n.modality) INTO strange FROM new_rows AS n
        WHERE NOT EXISTS (SELECT FROM @schema@.known_modalities AS k WHERE k.name = n.modality);
        IF strange IS NOT NULL THEN
            PERFORM @schema@.refuse_modalities(strange);
        END IF;
    END IF;
    IF moved IS NOT NULL OR gone IS NOT NULL OR outdated IS NOT NULL THEN
        -- Those that are re-opened and those that go in one order, whatever comes below.
        PERFORM @schema@.lock_jobs(changed || gone || outdated);
    END IF;
    IF gone IS NOT NULL THEN
        PERFORM @schema@.remove_source_items(gone);
    END IF;
    IF outdated IS NOT NULL THEN
        PERFORM @schema@.delete_outdated_items(outdated);
    END IF;
    IF retold IS NOT NULL THEN
        PERFORM @schema@.stop_work_on(retold);
        FOR known IN
            SELECT m.space_id, m.modality, @schema@.items_table(m.space_id, m.modality) AS items
            FROM @schema@.space_modalities AS m ORDER BY m.space_id, m.modality
        LOOP
            CONTINUE WHEN known.items IS NULL;
            -- Without the model, and at once: a filter may be what keeps tenants apart.
            EXECUTE format($query$
                UPDATE %s AS i SET
                    metadata = @schema@.retold_metadata(i.metadata, o.metadata, n.metadata)
                FROM new_rows AS n JOIN old_rows AS o USING (id)
                WHERE i.source_id = n.id AND n.id = ANY ($1)
                $query$, known.items) USING retold;
            -- What has no item yet, of a space that is being created say, or none that could hold
            -- the notes.
            EXECUTE format($query$
                INSERT INTO @schema@.ingest_jobs (space_id, source_id)
                SELECT $2, n.id FROM new_rows AS n JOIN old_rows AS o USING (id)
                WHERE n.id = ANY ($1) AND n.modality = $3
                  AND (NOT EXISTS (SELECT FROM %s AS i WHERE i.source_id = n.id)
                       OR jsonb_typeof(o.metadata) <> 'object')
                  AND NOT EXISTS (SELECT FROM @schema@.deleted_items AS d WHERE d.source_id = n.id)
                ORDER BY n.id ON CONFLICT (space_id, source_id) DO NOTHING
                $query$, known.items) USING retold, known.space_id, known.modality;
            GET DIAGNOSTICS lacking = ROW_COUNT;
            opened := opened + lacking;
        END LOOP;
    END IF;
    IF many IS NOT NULL THEN
        opened := opened + @schema@.open_jobs(many, many_of, false);
    END IF;
    IF changed IS NOT NULL THEN
        DELETE FROM @schema@.deleted_items AS d WHERE d.source_id = ANY (changed);
        opened := opened + @schema@.open_jobs(changed, their, true);
    END IF;
    IF opened > 0 THEN
        PERFORM @schema@.wake_workers();
    END IF;
    IF moved IS NOT NULL THEN
        PERFORM @schema@.withdraw_source_items(moved, now_of);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.source_items_updated() IS
    'Re-opens the jobs of source items whose content changed, and writes changed metadata into '
    'their items; one of another modality leaves the spaces that lack it, and one of another id '
    'leaves nothing under the old one.';

CREATE OR REPLACE FUNCTION @schema@.source_items_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint[];
BEGIN
    PERFORM @schema@.check_is_source_items(TG_RELID::regclass);
    PERFORM @schema@.check_sees_spaces();
    SELECT array_agg(o.id ORDER BY o.id) INTO gone FROM old_rows AS o;
    IF gone IS NOT NULL THEN
        PERFORM @schema@.remove_source_items(gone);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.source_items_deleted() IS
    'Removes the jobs and the items of deleted source items, in every space.';

CREATE OR REPLACE FUNCTION @schema@.source_items_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    items regclass;
BEGIN
    PERFORM @schema@.check_is_source_items(TG_RELID::regclass);
    PERFORM @schema@.check_sees_spaces();
    TRUNCATE @schema@.ingest_jobs, @schema@.deleted_items;
    FOR items IN
        SELECT @schema@.items_table(m.space_id, m.modality) FROM @schema@.space_modalities AS m
        ORDER BY m.space_id, m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('TRUNCATE %s', items);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.source_items_truncated() IS
    'Removes every job and item when source_items is truncated.';

CREATE OR REPLACE TRIGGER source_items_inserted AFTER INSERT ON @schema@.source_items
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.source_items_inserted();
CREATE OR REPLACE TRIGGER source_items_updated AFTER UPDATE ON @schema@.source_items
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.source_items_updated();
CREATE OR REPLACE TRIGGER source_items_deleted AFTER DELETE ON @schema@.source_items
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.source_items_deleted();
CREATE OR REPLACE TRIGGER source_items_truncated AFTER TRUNCATE ON @schema@.source_items
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.source_items_truncated();
