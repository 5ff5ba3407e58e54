CREATE OR REPLACE FUNCTION @schema@.refresh_space_statistics(space text DEFAULT NULL)
RETURNS TABLE (space_name text, of_modality text, items bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  record;
    centre @vector@.halfvec;
    pages  bigint;
    sample text;
BEGIN
    IF NOT EXISTS (SELECT FROM @schema@.embedding_spaces AS s WHERE s.name = space)
       AND space IS NOT NULL THEN
        RAISE EXCEPTION 'there is no space %', quote_literal(space) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'See the view space_status.';
    END IF;
    FOR known IN
        SELECT s.id, s.name, m.modality,
               @schema@.items_table(s.id, m.modality) AS items_table
        FROM @schema@.embedding_spaces AS s
        JOIN @schema@.space_modalities AS m ON m.space_id = s.id
        WHERE s.state <> 'retired' AND (space IS NULL OR s.name = space)
        ORDER BY s.id, m.modality
    LOOP
        CONTINUE WHEN known.items_table IS NULL;
        -- 25,000 pages hold some 200,000 vectors: enough for a mean to four digits.
        pages := pg_relation_size(known.items_table) / current_setting('block_size')::bigint;
        sample := CASE WHEN pages > 25000
                       THEN format('TABLESAMPLE SYSTEM (%s)', 100.0 * 25000 / pages) END;
        EXECUTE format('SELECT count(*) FROM %s', known.items_table) INTO items;
        EXECUTE format('SELECT @vector@.avg(embedding) FROM %s %s', known.items_table, sample)
            INTO centre;
        UPDATE @schema@.space_modalities AS m
        SET item_count = items, mean = centre, measured_at = now()
        WHERE m.space_id = known.id AND m.modality = known.modality;
        space_name := known.name;
        of_modality := known.modality;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.refresh_space_statistics(text) IS
    'Counts the items and takes their mean vector, per modality of the spaces in use: what '
    'calibrated ranking and the choice between index and exact search go by.';
