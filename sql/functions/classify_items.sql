CREATE OR REPLACE FUNCTION @schema@.classify_items(
    labels   text[],
    template text     DEFAULT 'a photo of a {}',
    items    bigint[] DEFAULT NULL,
    modality text     DEFAULT 'image',
    filter   jsonb    DEFAULT '{}'
)
RETURNS TABLE (id bigint, label text, probability real, similarity real, rank integer)
-- Zero-shot classification as in the CLIP paper (Radford et al. 2021, section 3.1): one prompt per
-- label, softmax over the labels with the temperature the model was trained with.
-- Volatile for the same reason as search_items.
LANGUAGE plpgsql VOLATILE ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    prompts @vector@.halfvec[];
    scale   float8;
    known   text[];
BEGIN
    IF coalesce(cardinality(labels), 0) = 0 OR array_position(labels, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'labels must hold at least one label, and no null' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'labels => ARRAY[''dog'', ''cat'']';
    END IF;
    IF position('{}' IN template) = 0 THEN
        RAISE EXCEPTION 'the template % has no {} for the label', quote_literal(template) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'template => ''a photo of a {}''';
    END IF;
    IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is %, and must be a JSON object', quote_nullable(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'filter => ''{"colour": "red"}''';
    END IF;
    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM @schema@.multimodal_items LIMIT 0;
    SELECT array_agg(m.modality ORDER BY m.modality) INTO known
    FROM @schema@.space_modalities AS m JOIN @schema@.embedding_spaces AS s ON s.id = m.space_id
    WHERE s.state = 'active';
    IF items IS NULL AND classify_items.modality = ANY (known) IS NOT TRUE THEN
        RAISE EXCEPTION 'there is no modality %', quote_nullable(classify_items.modality) USING
            ERRCODE = 'invalid_parameter_value', HINT = format('There are %s.', known);
    END IF;
    SELECT (s.description ->> 'logit_scale')::float8 INTO scale
    FROM @schema@.embedding_spaces AS s WHERE s.state = 'active';
    SELECT @schema@.text_embeddings(
        array_agg(replace(template, '{}', l) ORDER BY n), interval '10 s') INTO prompts
    FROM unnest(labels) WITH ORDINALITY AS u (l, n);
    RETURN QUERY
    SELECT c.id, c.label,
           (exp(c.logit - c.highest) / sum(exp(c.logit - c.highest)) OVER of_item)::real,
           c.similarity::real,
           (row_number() OVER (of_item ORDER BY c.logit DESC, c.n))::integer
    FROM (
        SELECT i.id, u.label, u.n, u.similarity, scale * u.similarity AS logit,
               scale * max(u.similarity) OVER (PARTITION BY i.id) AS highest
        FROM @schema@.multimodal_items AS i
        CROSS JOIN LATERAL (
            SELECT labels[n] AS label, n,
                   1 - (i.embedding::@vector@.halfvec OPERATOR(@vector@.<=>) prompts[n])
                       AS similarity
            FROM generate_subscripts(labels, 1) AS n
        ) AS u
        WHERE (items IS NULL AND i.modality = classify_items.modality OR i.id = ANY (items))
          AND i.metadata @> filter
    ) AS c
    WINDOW of_item AS (PARTITION BY c.id);
END $$;
COMMENT ON FUNCTION @schema@.classify_items(text[], text, bigint[], text, jsonb) IS
    'Zero-shot labels: for the items given, or for all of a modality, every label with its '
    'probability; rank 1 is the label. Or lateral, with items => ARRAY[i.id].';
