-- Words and vectors together: exact names and numbers come from full text, meaning from vectors.

CREATE OR REPLACE FUNCTION @schema@.hybrid_search(
    query         text,
    modality      text[]  DEFAULT NULL,
    k             integer DEFAULT 10,
    filter        jsonb   DEFAULT '{}',
    vector_weight real    DEFAULT 1,
    text_weight   real    DEFAULT 1,
    candidates    integer DEFAULT NULL,
    ranking       text    DEFAULT 'calibrated'
)
RETURNS SETOF @schema@.hybrid_match
-- Volatile for the same reason as search_items.
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    probe @vector@.halfvec;
    any_words tsquery;  -- in every language
    given bigint;
    n     integer := coalesce(candidates, greatest(least(4 * k::bigint, 100000), 50));
BEGIN
    IF k IS NULL OR k < 1 OR k > 100000 THEN
        RAISE EXCEPTION 'k is %, and must be between 1 and 100000', coalesce(k::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF n NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'candidates is %, and must be between 1 and 100000', candidates
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (vector_weight >= 0 AND vector_weight < 'Infinity' AND text_weight >= 0
        AND text_weight < 'Infinity' AND greatest(vector_weight, text_weight) > 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'vector_weight is % and text_weight %, and neither may be negative, '
            'infinite or null, nor both zero', coalesce(vector_weight::text, 'null'),
            coalesce(text_weight::text, 'null') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM @schema@.multimodal_items LIMIT 0;
    probe := @schema@.text_embedding(query, interval '10 s');
    any_words := @schema@.words_of_any(query);
    RETURN QUERY
    WITH by_vector AS MATERIALIZED (
        SELECT m.id, m.source_id, m.part, m.modality, m.content_ref, m.metadata, m.similarity,
               m.rank
        FROM @schema@.nearest_items(NULL::text, probe, NULL::bigint, hybrid_search.modality, n,
            hybrid_search.filter, NULL::real, hybrid_search.ranking, 'text'::text,
            NULL::text[], NULL::bigint[], NULL::text) AS m
    ),
    found AS MATERIALIZED (
        SELECT s.id AS source_id, ts_rank_cd(own.document, own.words) AS weight
        FROM @schema@.source_items AS s
        CROSS JOIN LATERAL (  -- once a row: OFFSET keeps it together
            SELECT @schema@.item_document(s.modality, s.content_ref, s.metadata) AS document,
                   @schema@.words_of(hybrid_search.query, s.metadata) AS words OFFSET 0
        ) AS own
        WHERE @schema@.item_document(s.modality, s.content_ref, s.metadata) @@ any_words
          AND own.document @@ own.words
          AND (hybrid_search.modality IS NULL OR s.modality = ANY (hybrid_search.modality))
          AND s.metadata @> hybrid_search.filter
        ORDER BY weight DESC, s.id LIMIT n
    ),
    by_text AS MATERIALIZED (
        SELECT i.*, row_number() OVER (ORDER BY found.weight DESC, found.source_id)::integer AS rank
        FROM found CROSS JOIN LATERAL (
            SELECT i.id, i.source_id, i.part, i.modality, i.content_ref, i.metadata,
                   (1 - (i.embedding::@vector@.halfvec OPERATOR(@vector@.<=>) probe))::real
                       AS similarity
            FROM @schema@.multimodal_items AS i WHERE i.source_id = found.source_id
            ORDER BY i.embedding::@vector@.halfvec OPERATOR(@vector@.<=>) probe, i.id LIMIT 1
        ) AS i
    ),
    -- Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), with their 60.
    fused AS (
        SELECT coalesce(v.id, t.id) AS id, coalesce(v.source_id, t.source_id) AS source_id,
               coalesce(v.part, t.part) AS part, coalesce(v.modality, t.modality) AS modality,
               coalesce(v.content_ref, t.content_ref) AS content_ref,
               coalesce(v.metadata, t.metadata) AS metadata,
               coalesce(v.similarity, t.similarity) AS similarity,
               v.rank AS vector_rank, t.rank AS text_rank,
               coalesce(vector_weight / (60 + v.rank), 0)
                   + coalesce(text_weight / (60 + t.rank), 0) AS score
        FROM by_vector AS v FULL JOIN by_text AS t USING (source_id)
    )
    SELECT row_number() OVER (ORDER BY f.score DESC, f.similarity DESC, f.id)::integer, f.id,
           f.source_id, f.part, f.modality, f.content_ref, f.metadata, f.similarity,
           f.vector_rank, f.text_rank, f.score::real
    FROM fused AS f ORDER BY 1 LIMIT k;
    GET DIAGNOSTICS given = ROW_COUNT;
    IF given < k THEN
        RAISE NOTICE 'only % of the % asked for: %', given, k, CASE
            WHEN filter <> '{}' THEN 'no other item matches the filter'
            ELSE 'there are no other items' END;
    END IF;
END $$;
COMMENT ON FUNCTION
    @schema@.hybrid_search(text, text[], integer, jsonb, real, real, integer, text) IS
    'The k items best by meaning and by words together (reciprocal rank fusion); the query may '
    'hold "a phrase", -word and or, as in web search.';
