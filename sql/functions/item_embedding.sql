-- Vectors to search with, made from stored ones.

CREATE OR REPLACE FUNCTION @schema@.item_embedding(item_id bigint) RETURNS @vector@.halfvec
LANGUAGE plpgsql STABLE COST 300
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer @vector@.halfvec;
BEGIN
    SELECT i.embedding INTO answer FROM @schema@.multimodal_items AS i WHERE i.id = item_id;
    IF answer IS NULL THEN
        RAISE EXCEPTION 'there is no item %', coalesce(item_id::text, 'null') USING
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
    blend   @vector@.vector;
    largest float8;  -- weight: they count relative to it
BEGIN
    IF coalesce(cardinality(embeddings), 0) = 0
       OR EXISTS (SELECT FROM unnest(embeddings) AS e WHERE e IS NULL) THEN
        RAISE EXCEPTION 'embeddings must hold at least one vector, and no null' USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (SELECT count(DISTINCT @vector@.vector_dims(e)) FROM unnest(embeddings) AS e) > 1 THEN
        RAISE EXCEPTION 'the embeddings have different dimensions' USING
            ERRCODE = 'data_exception',
            HINT = 'Only vectors of the active space''s model can be compared.';
    END IF;
    IF cardinality(weights) <> cardinality(embeddings) THEN
        RAISE EXCEPTION '% embeddings need as many weights, not %',
            cardinality(embeddings), cardinality(weights)
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'blend_embeddings(ARRAY[a, b], ARRAY[1, -0.5]); without weights all count '
                   'alike.';
    END IF;
    IF EXISTS (SELECT FROM unnest(weights) AS w
               WHERE (w > '-Infinity' AND w < 'Infinity') IS NOT TRUE) THEN
        RAISE EXCEPTION 'weights are %, and must be finite numbers', weights USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    IF 0 = ALL (weights) THEN
        RAISE EXCEPTION 'weights are %: the blend has no direction', weights USING
            ERRCODE = 'invalid_parameter_value';
    END IF;
    largest := (SELECT max(abs(w)) FROM unnest(weights) AS w WHERE w <> 0);
    -- Both arrays by their order: their lower bounds may differ.
    SELECT @vector@.sum(u.e::@vector@.vector OPERATOR(@vector@.*) array_fill(
        CASE WHEN weights IS NULL THEN 1 ELSE coalesce(u.w / largest, 0) END::real,
        ARRAY[@vector@.vector_dims(u.e)])::@vector@.vector)
    INTO blend
    FROM unnest(embeddings, weights) AS u (e, w);
    IF @vector@.vector_norm(blend) < 0.0001 THEN
        RAISE EXCEPTION 'the blend of the embeddings has no direction: its parts cancel each '
            'other out' USING ERRCODE = 'data_exception', HINT = 'Change the weights.';
    END IF;
    RETURN @vector@.l2_normalize(blend)::@vector@.halfvec;
END $$;
COMMENT ON FUNCTION @schema@.blend_embeddings(@vector@.halfvec[], real[]) IS
    'The direction of a weighted sum of vectors; negative weights lead away: blend_embeddings('
    'ARRAY[item_embedding(42), text_embedding(''at night'')], ARRAY[1, 0.5]).';
