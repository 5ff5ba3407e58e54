-- Changes of source_items that no trigger saw: session_replication_role = replica, pg_restore
-- --disable-triggers, logical replication. Found by comparing what there is.

CREATE OR REPLACE FUNCTION @schema@.without_notes(metadata jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata - '_pipeline' ELSE metadata END;
COMMENT ON FUNCTION @schema@.without_notes(jsonb) IS
    'The metadata of an item as its source item has it.';

CREATE OR REPLACE FUNCTION @schema@.window_bound(metadata jsonb, bound text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- The key may hold anything that a user wrote. A text has no more than 2^30 characters.
RETURN CASE WHEN jsonb_typeof(metadata #> ARRAY['_pipeline', bound]) = 'number'
    THEN CASE WHEN (metadata #> ARRAY['_pipeline', bound])::numeric BETWEEN 0 AND 1073741823
        THEN (metadata #> ARRAY['_pipeline', bound])::integer END END;
COMMENT ON FUNCTION @schema@.window_bound(jsonb, text) IS
    'Where a part of a text starts or ends, in characters; null: that is not said.';

CREATE OR REPLACE FUNCTION @schema@.file_sha256(content_sha256 bytea, metadata jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN metadata #>> '{_pipeline,sha256}' ~ '^[0-9a-f]{64}$'
    THEN decode(metadata #>> '{_pipeline,sha256}', 'hex') ELSE content_sha256 END;
COMMENT ON FUNCTION @schema@.file_sha256(bytea, jsonb) IS
    'SHA-256 of the file that an item is of: of a frame or a page it stands in the notes.';

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
    IF num_nulls(after_id, up_to_id) > 0 THEN
        RAISE EXCEPTION 'after_id is %, up_to_id %, and neither may be null',
            coalesce(after_id::text, 'null'), coalesce(up_to_id::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @schema@.check_sees_all_rows();
    FOR known IN
        SELECT m.space_id, m.modality, @schema@.items_table(m.space_id, m.modality) AS items,
               k.inline
        FROM @schema@.space_modalities AS m
        JOIN @schema@.known_modalities AS k ON k.name = m.modality
        ORDER BY m.space_id, m.modality
    LOOP
        CONTINUE WHEN known.items IS NULL;
        -- A text is what its parts show; one that was cleaned is not, hence "perhaps". Only under
        -- a text of several parts are the notes surely ours: else a user's own may stand there.
        RETURN QUERY EXECUTE format($query$
            SELECT %1$s, s.id, CASE
                WHEN i.source_id IS NULL THEN 'new'
                WHEN d.metadata_differs THEN 'changed'
                ELSE 'perhaps changed' END
            FROM @schema@.source_items AS s
            LEFT JOIN %2$s AS i ON i.source_id = s.id AND i.part = 0
            CROSS JOIN LATERAL (
                SELECT %4$L AND i.metadata #> '{_pipeline,end}' IS NOT NULL AND EXISTS (
                    SELECT FROM %2$s AS p WHERE p.source_id = s.id AND p.part > 0)
            ) AS w (is_cut)
            CROSS JOIN LATERAL (
                SELECT CASE WHEN %4$L AND NOT w.is_cut THEN i.metadata <> s.metadata
                    ELSE @schema@.without_notes(i.metadata) <> @schema@.without_notes(s.metadata)
                    END
            ) AS d (metadata_differs)
            WHERE s.id > $1 AND s.id <= $2 AND s.modality = %3$L
              AND (i.source_id IS NULL OR d.metadata_differs
                   OR CASE WHEN NOT w.is_cut THEN i.content_ref <> s.content_ref
                       ELSE EXISTS (
                           SELECT FROM %2$s AS p
                           CROSS JOIN LATERAL (
                               SELECT @schema@.window_bound(p.metadata, 'start'),
                                      @schema@.window_bound(p.metadata, 'end')
                           ) AS n (start, stop)
                           WHERE p.source_id = s.id AND p.content_ref IS DISTINCT FROM
                               substr(s.content_ref, n.start + 1, greatest(0, n.stop - n.start)))
                         OR char_length(s.content_ref) > (
                           SELECT max(@schema@.window_bound(p.metadata, 'end'))
                           FROM %2$s AS p WHERE p.source_id = s.id) END)
              AND NOT EXISTS (SELECT FROM @schema@.ingest_jobs AS j
                              WHERE j.space_id = %1$s AND j.source_id = s.id)
              AND NOT EXISTS (SELECT FROM @schema@.deleted_items AS gone
                              WHERE gone.source_id = s.id)
            UNION ALL
            SELECT DISTINCT %1$s, i.source_id, CASE WHEN s.id IS NULL OR NOT EXISTS (
                SELECT FROM @schema@.known_modalities AS k JOIN @schema@.space_modalities AS m
                ON m.modality IN (k.name, k.derived_from)
                WHERE m.space_id = %1$s AND k.name = s.modality) THEN 'gone' ELSE 'changed' END
            FROM %2$s AS i
            LEFT JOIN @schema@.source_items AS s ON s.id = i.source_id
            WHERE i.source_id > $1 AND i.source_id <= $2 AND s.modality IS DISTINCT FROM %3$L
              AND NOT EXISTS (SELECT FROM @schema@.ingest_jobs AS j
                              WHERE j.space_id = %1$s AND j.source_id = i.source_id)
            $query$, known.space_id, known.items, known.modality, known.inline)
            USING after_id, up_to_id;
    END LOOP;
    -- Of modalities that a space derives, and has no item of yet.
    RETURN QUERY
        SELECT m.space_id, s.id, 'new'
        FROM @schema@.known_modalities AS k
        JOIN @schema@.space_modalities AS m ON m.modality = k.derived_from
        JOIN @schema@.source_items AS s ON s.modality = k.name
        WHERE s.id > after_id AND s.id <= up_to_id
          AND NOT EXISTS (SELECT FROM @schema@.space_modalities AS own
                          WHERE own.space_id = m.space_id AND own.modality = k.name)
          AND NOT EXISTS (SELECT FROM @schema@.ingest_jobs AS j
                          WHERE j.space_id = m.space_id AND j.source_id = s.id)
          AND NOT EXISTS (SELECT FROM @schema@.deleted_items AS gone WHERE gone.source_id = s.id);
    RETURN QUERY
        SELECT j.space_id, j.source_id, 'gone' FROM @schema@.ingest_jobs AS j
        WHERE j.source_id > after_id AND j.source_id <= up_to_id
          AND NOT EXISTS (SELECT FROM @schema@.source_items AS s WHERE s.id = j.source_id);
END $$;
COMMENT ON FUNCTION @schema@.missed_changes(bigint, bigint) IS
    'Source items in a range of ids whose insert, update or delete no trigger saw: new, changed, '
    'perhaps changed or gone, per space. `pipeline sync` looks closer, and mends them.';
