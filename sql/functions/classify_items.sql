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
    missing bigint;
BEGIN
    IF coalesce(cardinality(labels), 0) = 0
       OR EXISTS (SELECT FROM unnest(labels) AS l WHERE (l ~ '[^[:space:]]') IS NOT TRUE) THEN
        RAISE EXCEPTION 'labels must hold at least one label, and none that is null or empty' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'labels => ARRAY[''dog'', ''cat'']';
    END IF;
    IF (position('{}' IN template) > 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'the template % has no {} for the label', quote_nullable(template) USING
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
    -- With items it says nothing, and its default need not be a modality of this space.
    IF classify_items.modality = ANY (known) IS NOT TRUE AND (items IS NULL
          OR classify_items.modality NOT IN (SELECT name FROM @schema@.known_modalities)) THEN
        RAISE EXCEPTION 'there is no modality %', quote_nullable(classify_items.modality) USING
            ERRCODE = 'invalid_parameter_value', HINT = format('There are %s.', known);
    END IF;
    SELECT min(u.item) INTO missing FROM unnest(items) AS u (item)
    WHERE NOT EXISTS (SELECT FROM @schema@.multimodal_items AS i WHERE i.id = u.item);
    IF missing IS NOT NULL OR EXISTS (SELECT FROM unnest(items) AS u WHERE u IS NULL) THEN
        RAISE EXCEPTION 'there is no item %', coalesce(missing::text, 'null') USING
            ERRCODE = 'no_data_found', HINT = 'Items have their numbers in multimodal_items.id.';
    END IF;
    SELECT (s.description ->> 'logit_scale')::float8 INTO scale
    FROM @schema@.embedding_spaces AS s WHERE s.state = 'active';
    IF scale IS NULL THEN
        RAISE EXCEPTION 'the active space''s model has no temperature, which probabilities need'
            USING ERRCODE = 'feature_not_supported',
            HINT = 'Compare with text_embeddings() of the labels by <=>.';
    END IF;
    SELECT @schema@.text_embeddings(
        array_agg(replace(template, '{}', l) ORDER BY n), interval '10 s') INTO prompts
    FROM unnest(labels) WITH ORDINALITY AS u (l, n);
    RETURN QUERY
    SELECT c.id, c.label,
           -- Where it has no real of its own it is 0, not "out of range".
           CASE WHEN c.weight / sum(c.weight) OVER of_item < 1e-37 THEN 0
                ELSE c.weight / sum(c.weight) OVER of_item END::real,
           c.similarity::real,
           (row_number() OVER (of_item ORDER BY c.logit DESC, c.n))::integer
    FROM (
        SELECT i.id, u.label, u.n, u.similarity, scale * u.similarity AS logit,
               exp(greatest(-700, scale * u.similarity
                   - max(scale * u.similarity) OVER (PARTITION BY i.id))) AS weight
        FROM @schema@.multimodal_items AS i
        CROSS JOIN LATERAL (
            -- Both by their order: an array may begin at any number.
            SELECT p.label, p.n, 1 - (i.embedding::@vector@.halfvec OPERATOR(@vector@.<=>) p.prompt)
                AS similarity
            FROM unnest(labels, prompts) WITH ORDINALITY AS p (label, prompt, n)
        ) AS u
        WHERE (items IS NULL AND i.modality = classify_items.modality OR i.id = ANY (items))
          AND i.metadata @> filter
    ) AS c
    WINDOW of_item AS (PARTITION BY c.id);
END $$;
COMMENT ON FUNCTION @schema@.classify_items(text[], text, bigint[], text, jsonb) IS
    'Zero-shot labels: for the items given, or for all of a modality, every label with its '
    'probability; rank 1 is the label. Or lateral, with items => ARRAY[i.id].';
