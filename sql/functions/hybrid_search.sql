-- Words and vectors together: exact names and numbers come from full text, meaning from vectors.

CREATE OR REPLACE FUNCTION @schema@.item_document(modality text, content_ref text, metadata jsonb)
RETURNS tsvector
-- Immutable, as an index on source_items is made of it (sql/schema/full_text_index.sql). So it may
-- ask no table which modalities are words: it is text. Cut where a tsvector would refuse (1 MB).
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('pg_catalog.english', left(concat_ws(' ',
    metadata ->> 'title', metadata ->> 'caption', metadata ->> 'description',
    metadata ->> 'alt', metadata ->> 'tags',
    CASE WHEN modality = 'text' THEN content_ref END), 100000));
COMMENT ON FUNCTION @schema@.item_document(text, text, jsonb) IS
    'What full text finds of a source item: its text, and title, caption, description, alt and '
    'tags of its metadata.';

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
    words tsquery := websearch_to_tsquery('pg_catalog.english', query);
    n     integer := coalesce(candidates, greatest(4 * k, 50));
BEGIN
    IF least(vector_weight, text_weight) < 0 OR vector_weight + text_weight = 0 THEN
        RAISE EXCEPTION 'weights are % and %, and must not be negative nor all zero',
            vector_weight, text_weight USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Waits here where a space is being activated: all that follows then speaks of the new one.
    PERFORM FROM @schema@.multimodal_items LIMIT 0;
    probe := @schema@.text_embedding(query, interval '10 s');
    RETURN QUERY
    WITH by_vector AS MATERIALIZED (
        SELECT m.id, m.source_id, m.part, m.modality, m.content_ref, m.metadata, m.similarity,
               m.rank
        FROM @schema@.search_items(NULL::text, probe, NULL::bigint, hybrid_search.modality, n,
            hybrid_search.filter, NULL::real, hybrid_search.ranking, 'text'::text) AS m
    ),
    found AS MATERIALIZED (
        SELECT s.id AS source_id,
               ts_rank_cd(@schema@.item_document(s.modality, s.content_ref, s.metadata), words)
                   AS weight
        FROM @schema@.source_items AS s
        WHERE @schema@.item_document(s.modality, s.content_ref, s.metadata) @@ words
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
            ORDER BY i.embedding::@vector@.halfvec OPERATOR(@vector@.<=>) probe LIMIT 1
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
END $$;
COMMENT ON FUNCTION
    @schema@.hybrid_search(text, text[], integer, jsonb, real, real, integer, text) IS
    'The k items best by meaning and by words together (reciprocal rank fusion); the query may '
    'hold "a phrase", -word and or, as in web search.';
