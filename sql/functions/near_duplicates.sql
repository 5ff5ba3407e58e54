CREATE OR REPLACE FUNCTION @schema@.near_duplicates(
    threshold  real    DEFAULT 0.95,
    modality   text    DEFAULT 'image',
    filter     jsonb   DEFAULT '{}',
    neighbours integer DEFAULT 10
)
RETURNS TABLE (
    id bigint, other_id bigint, similarity real, content_ref text, other_content_ref text
)
-- One index lookup per item instead of a comparison of all pairs. An item with more than
-- `neighbours` near duplicates is paired with the nearest of them only; the others mostly pair
-- with each other.
-- Volatile for the same reason as search_items.
LANGUAGE plpgsql VOLATILE ROWS 1000
SET search_path = pg_catalog, pg_temp
SET hnsw.iterative_scan = relaxed_order
SET enable_seqscan = on
SET jit = off
AS $$
DECLARE
    known       text[];
    coordinates integer;  -- that the index is over; null: whole vectors
    nearest     text := '@schema@.multimodal_items AS i WHERE i.modality = %1$L';
BEGIN
    IF threshold IS NULL OR threshold NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'the threshold is %, and must be between 0 and 1',
            coalesce(threshold::text, 'null') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF neighbours IS NULL OR neighbours NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'neighbours is %, and must be between 1 and 10000',
            coalesce(neighbours::text, 'null') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is %, and must be a JSON object', quote_nullable(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'filter => ''{"colour": "red"}''';
    END IF;
    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM @schema@.multimodal_items LIMIT 0;
    PERFORM @schema@.check_snapshot();
    SELECT array_agg(m.modality ORDER BY m.modality), max(s.compact_dimensions)
    INTO known, coordinates
    FROM @schema@.space_modalities AS m JOIN @schema@.embedding_spaces AS s ON s.id = m.space_id
    WHERE s.state = 'active';
    IF near_duplicates.modality = ANY (known) IS NOT TRUE THEN
        RAISE EXCEPTION 'there is no modality %', quote_nullable(near_duplicates.modality) USING
            ERRCODE = 'invalid_parameter_value', HINT = format('There are %s.', known);
    END IF;
    IF coordinates IS NOT NULL THEN
        nearest := format('(SELECT i.* FROM %s ORDER BY @vector@.subvector(i.compact, 1, %s)'
            '::@vector@.halfvec(%2$s) OPERATOR(@vector@.<=>) @vector@.subvector(a.compact, 1, %2$s) '
            'LIMIT %s) AS i', nearest, coordinates, 4 * (neighbours + 10));
    END IF;
    RETURN QUERY EXECUTE format(
        $sql$
        SELECT DISTINCT ON (1, 2) least(a.id, b.id), greatest(a.id, b.id), (1 - b.distance)::real,
            CASE WHEN a.id < b.id THEN a.content_ref ELSE b.content_ref END,
            CASE WHEN a.id < b.id THEN b.content_ref ELSE a.content_ref END
        FROM @schema@.multimodal_items AS a
        CROSS JOIN LATERAL (
            SELECT i.id, i.content_ref, i.source_id,
                i.embedding OPERATOR(@vector@.<=>) a.embedding AS distance
            FROM %3$s
            ORDER BY i.embedding OPERATOR(@vector@.<=>) a.embedding
            LIMIT %2$s  -- the item itself is among them
        ) AS b
        WHERE a.modality = %1$L AND a.metadata @> $1
          AND b.source_id <> a.source_id AND b.distance <= 1 - $2
        ORDER BY 1, 2
        $sql$, modality, neighbours + 1, format(nearest, modality)) USING filter, threshold;
END $$;
COMMENT ON FUNCTION @schema@.near_duplicates(real, text, jsonb, integer) IS
    'Pairs of items of one modality whose similarity reaches the threshold, each pair once.';
