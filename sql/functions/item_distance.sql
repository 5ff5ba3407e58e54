-- The distance by which the index orders, for callers who do not know where pgvector's operators
-- are. PostgreSQL puts the operator in its place before it looks for an index (a function in SQL
-- that is one expression), so nothing is lost: no SET here, which would prevent that.

CREATE OR REPLACE FUNCTION @schema@.item_distance(one @vector@.halfvec, other @vector@.halfvec)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN one OPERATOR(@vector@.<=>) other;
COMMENT ON FUNCTION @schema@.item_distance(@vector@.halfvec, @vector@.halfvec) IS
    'embedding <=> query, whatever the search path: ORDER BY item_distance(embedding, '
    'text_embedding(''a red bicycle'')) LIMIT 10 uses the index as well.';

CREATE OR REPLACE FUNCTION @schema@.item_distance(one @vector@.vector, other @vector@.vector)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN one OPERATOR(@vector@.<=>) other;
COMMENT ON FUNCTION @schema@.item_distance(@vector@.vector, @vector@.vector) IS
    'The same for spaces of the type vector.';
