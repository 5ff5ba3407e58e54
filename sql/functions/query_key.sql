-- By what a query text is found in query_embeddings: one key for SQL and for Python, which asks
-- here. Of the text as it was asked; cleaning it is the model's affair.

CREATE OR REPLACE FUNCTION @schema@.query_key(query text) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN sha256(convert_to(query, 'UTF8'));
COMMENT ON FUNCTION @schema@.query_key(text) IS
    'The key of a text in query_embeddings: SHA-256 of its UTF-8.';
