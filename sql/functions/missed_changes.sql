-- Changes of source_items that no trigger saw: session_replication_role = replica, pg_restore
-- --disable-triggers, logical replication. Found by comparing what there is.

CREATE OR REPLACE FUNCTION @schema@.without_notes(metadata jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata - '_pipeline' ELSE metadata END;
COMMENT ON FUNCTION @schema@.without_notes(jsonb) IS
    'The metadata of an item as its source item has it.';

CREATE OR REPLACE FUNCTION @schema@.missed_changes(
    after_id bigint DEFAULT 0, up_to_id bigint DEFAULT 9223372036854775807)
RETURNS TABLE (space_id integer, source_id bigint, change text)
-- Stable, so that all of it is of one moment: a worker's finish is seen whole, or not at all.
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known record;
BEGIN
    FOR known IN
        SELECT m.space_id, m.modality, @schema@.items_table(m.space_id, m.modality) AS items
        FROM @schema@.space_modalities AS m ORDER BY m.space_id, m.modality
    LOOP
        CONTINUE WHEN known.items IS NULL;
        -- A text is what its parts show; one that was cleaned is not, hence "perhaps".
        RETURN QUERY EXECUTE format($query$
            SELECT %1$s, s.id, CASE
                WHEN i.source_id IS NULL THEN 'new'
                WHEN @schema@.without_notes(i.metadata) <> @schema@.without_notes(s.metadata) THEN 'changed'
                ELSE 'perhaps changed' END
            FROM @schema@.source_items AS s
            LEFT JOIN %2$s AS i ON i.source_id = s.id AND i.part = 0
            WHERE s.id > $1 AND s.id <= $2 AND s.modality = %3$L
              AND (i.source_id IS NULL
                   OR @schema@.without_notes(i.metadata) <> @schema@.without_notes(s.metadata)
                   OR CASE WHEN i.metadata #> '{_pipeline,end}' IS NULL
                       THEN i.content_ref <> s.content_ref
                       ELSE EXISTS (
                           SELECT FROM %2$s AS p
                           CROSS JOIN LATERAL (SELECT p.metadata -> '_pipeline') AS n (notes)
                           WHERE p.source_id = s.id AND p.content_ref <> substr(s.content_ref,
                               (n.notes ->> 'start')::integer + 1,
                               (n.notes ->> 'end')::integer - (n.notes ->> 'start')::integer))
                         OR char_length(s.content_ref) > (
                           SELECT max((p.metadata #>> '{_pipeline,end}')::integer)
                           FROM %2$s AS p WHERE p.source_id = s.id) END)
              AND NOT EXISTS (SELECT FROM @schema@.ingest_jobs AS j
                              WHERE j.space_id = %1$s AND j.source_id = s.id)
            UNION ALL
            SELECT DISTINCT %1$s, i.source_id, CASE WHEN s.id IS NULL OR NOT EXISTS (
                SELECT FROM @schema@.space_modalities AS m
                WHERE m.space_id = %1$s AND m.modality = s.modality) THEN 'gone' ELSE 'changed' END
            FROM %2$s AS i
            LEFT JOIN @schema@.source_items AS s ON s.id = i.source_id
            WHERE i.source_id > $1 AND i.source_id <= $2 AND s.modality IS DISTINCT FROM %3$L
              AND NOT EXISTS (SELECT FROM @schema@.ingest_jobs AS j
                              WHERE j.space_id = %1$s AND j.source_id = i.source_id)
            $query$, known.space_id, known.items, known.modality)
            USING after_id, up_to_id;
    END LOOP;
    RETURN QUERY
        SELECT j.space_id, j.source_id, 'gone' FROM @schema@.ingest_jobs AS j
        WHERE j.source_id > after_id AND j.source_id <= up_to_id
          AND NOT EXISTS (SELECT FROM @schema@.source_items AS s WHERE s.id = j.source_id);
END $$;
COMMENT ON FUNCTION @schema@.missed_changes(bigint, bigint) IS
    'Source items in a range of ids whose insert, update or delete no trigger saw: new, changed, '
    'perhaps changed or gone, per space. `pipeline sync` looks closer, and mends them.';

CREATE OR REPLACE FUNCTION @schema@.remove_source_items(space integer, ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @schema@.lock_jobs(ids);
    DELETE FROM @schema@.ingest_jobs AS j WHERE j.space_id = space AND j.source_id = ANY (ids);
    PERFORM @schema@.delete_items(space, ids);
END $$;
COMMENT ON FUNCTION @schema@.remove_source_items(integer, bigint[]) IS
    'Removes the jobs and the items of these source items from one space.';
