-- What a source to attach may be called, and what of it is refused, in words of its user's.

CREATE OR REPLACE FUNCTION @schema@.check_attached_name(name text, relation regclass)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The view of its items is called as it is, and "_items".
    IF name = '' OR name ~ '[[:cntrl:]]' OR octet_length(name) > 57 THEN
        RAISE EXCEPTION '%', CASE
            WHEN name = '' THEN 'the name is empty'
            WHEN name ~ '[[:cntrl:]]' THEN format('the name %L has a control character in it', name)
            ELSE format('the name %s%s is of %s bytes, and may be of 57', left(name, 40),
                        CASE WHEN length(name) > 40 THEN '...' END, octet_length(name)) END
            USING ERRCODE = 'invalid_parameter_value', HINT = format(
                'Give the source another, such as name => %L.', coalesce(
                    (SELECT c.relname FROM pg_class AS c WHERE c.oid = relation
                     AND octet_length(c.relname) <= 57 AND c.relname !~ '[[:cntrl:]]'),
                    'products'));
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_name(text, regclass) IS
    'Raises where a source to attach cannot have this name.';

CREATE OR REPLACE FUNCTION @schema@.items_view_key(name text, keys text[]) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN name = ANY (taken.names) THEN (
        SELECT longer.name FROM (
            SELECT n, repeat('row_', n) || items_view_key.name AS name
            FROM generate_series(1, 2 + cardinality(keys)) AS n
        ) AS longer WHERE longer.name <> ALL (taken.names || keys) ORDER BY longer.n LIMIT 1)
    ELSE name END
    FROM (SELECT '{row_key,content,part,modality,content_ref,metadata,embedding,item_id,source_id}'
          ::text[] AS names) AS taken
$$;
COMMENT ON FUNCTION @schema@.items_view_key(text, text[]) IS
    'What a column of the key is called in the view of an attached source''s items, which has '
    'columns of its own.';

CREATE OR REPLACE FUNCTION @schema@.unfit_expression(attachment integer, expressions_path text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    EXECUTE pg_catalog.concat('SET LOCAL search_path TO ',
        coalesce(nullif(pg_catalog.btrim(expressions_path), ''), ''''''));
    FOR part IN
        SELECT e.* FROM @schema@.attached_sources AS s
        CROSS JOIN LATERAL (
            SELECT pg_catalog.concat('the content ', c.key) AS called,
                pg_catalog.format(CASE WHEN (c.value -> 'each')::boolean
                    THEN '(SELECT count(*) FROM @schema@.elements_of(%s))' ELSE '%s' END,
                    c.value ->> 'content') AS said
            FROM pg_catalog.jsonb_each(s.definition -> 'contents') AS c
            UNION ALL SELECT 'its metadata', pg_catalog.format(
                CASE WHEN s.definition ->> 'metadata' OPERATOR(pg_catalog.~) '^[[:space:]]*[{]'
                    THEN '%s' ELSE '@schema@.metadata_object('''', '''', CASE WHEN true THEN (%s) END)'
                    END, @schema@.attached_metadata(attachment))
            WHERE s.definition ->> 'metadata' IS NOT NULL
            UNION ALL SELECT 'its filter', pg_catalog.format('CASE WHEN (%s) THEN 1 END',
                s.definition ->> 'filter') WHERE s.definition ->> 'filter' IS NOT NULL
        ) AS e WHERE s.id = attachment AND e.said IS NOT NULL
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('EXPLAIN SELECT FROM %s WHERE false AND ((%s) IS NULL)',
                (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                 FROM @schema@.attached_sources AS s
                 JOIN pg_catalog.pg_class AS c ON c.oid = s.relation
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE s.id = attachment), part.said);
        EXCEPTION WHEN OTHERS OR assert_failure THEN
            RETURN part.called;
        END;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION @schema@.unfit_expression(integer, text) IS
    'Which expression of a source to attach PostgreSQL refuses by itself.';

CREATE OR REPLACE FUNCTION @schema@.why_unfit(state text, message text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
-- By its code, and by what no translation of it changes.
RETURN CASE
    WHEN state = '42803' THEN 'an aggregate, such as count(*), is not of one row'
    WHEN state = '42P20' THEN 'a window function is not of one row'
    WHEN state = '0A000' AND message ~ '[[:<:]]WHERE[[:>:]]' THEN 'a function in it gives several rows'
    WHEN state = '42883' AND message ~ '[[:<:]]elements.of[(]' THEN format(
        'what is of type %s has no elements, which "each" asks for',
        substring(message FROM 'elements.of[(](.*?)[)]'))
    WHEN state = '42883' AND message ~ '[[:<:]]metadata.object[(]' THEN format(
        'of type %s, and must be jsonb: metadata => ''{price,tenant_id}'' takes columns',
        substring(message FROM 'metadata.object[(][^,]*, [^,]*, (.*?)[)]'))
    ELSE message END;
COMMENT ON FUNCTION @schema@.why_unfit(text, text) IS
    'Why an expression cannot be attached: what PostgreSQL says of our statement, as it is meant.';
