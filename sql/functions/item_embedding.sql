-- Vectors to search with, made from stored ones.

CREATE OR REPLACE FUNCTION @schema@.item_embedding(item_id bigint) RETURNS @vector@.halfvec
LANGUAGE plpgsql STABLE STRICT COST 300
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer @vector@.halfvec;
BEGIN
    SELECT i.embedding INTO answer FROM @schema@.multimodal_items AS i WHERE i.id = item_id;
    IF answer IS NULL THEN
        RAISE EXCEPTION 'there is no item %', item_id USING
            ERRCODE = 'no_data_found', HINT = 'Items have their numbers in multimodal_items.id.';
    END IF;
    RETURN answer;
END $$;
COMMENT ON FUNCTION @schema@.item_embedding(bigint) IS
    'The vector of a stored item: ORDER BY embedding <=> item_embedding(42) LIMIT 10.';

CREATE OR REPLACE FUNCTION @schema@.blend_embeddings(
    embeddings @vector@.halfvec[], weights real[] DEFAULT NULL
)
RETURNS @vector@.halfvec
LANGUAGE plpgsql IMMUTABLE COST 300
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    blend @vector@.vector;
BEGIN
    IF embeddings IS NULL OR cardinality(embeddings) = 0
       OR array_position(embeddings, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'embeddings must hold at least one vector, and no null' USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(weights) <> cardinality(embeddings)
       OR array_position(weights, NULL) IS NOT NULL THEN
        RAISE EXCEPTION '% embeddings need as many weights, not %',
            cardinality(embeddings), cardinality(weights)
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'blend_embeddings(ARRAY[a, b], ARRAY[1, -0.5]); without weights all count '
                   'alike.';
    END IF;
    SELECT @vector@.sum(e::@vector@.vector OPERATOR(@vector@.*)
        array_fill(coalesce(weights[n], 1), ARRAY[@vector@.vector_dims(e)])::@vector@.vector)
    INTO blend
    FROM unnest(embeddings) WITH ORDINALITY AS u (e, n);
    IF @vector@.vector_norm(blend) < 0.0001 THEN
        RAISE EXCEPTION 'the blend has no direction: its parts cancel each other out' USING
            ERRCODE = 'data_exception', HINT = 'Change the weights.';
    END IF;
    RETURN @vector@.l2_normalize(blend)::@vector@.halfvec;
END $$;
COMMENT ON FUNCTION @schema@.blend_embeddings(@vector@.halfvec[], real[]) IS
    'The direction of a weighted sum of vectors; negative weights lead away: blend_embeddings('
    'ARRAY[item_embedding(42), text_embedding(''at night'')], ARRAY[1, 0.5]).';
