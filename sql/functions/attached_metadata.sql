-- Metadata and filters of what is attached: what they may be, and rows of which they are not.

CREATE OR REPLACE FUNCTION @schema@.check_attached_texts(metadata text, filter text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    columns text[];
BEGIN
    IF metadata !~ '[^[:space:]]' OR filter !~ '[^[:space:]]' THEN
        RAISE EXCEPTION 'its % is empty', CASE WHEN metadata !~ '[^[:space:]]' THEN 'metadata'
            ELSE 'filter' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out, or give it as NULL.';
    ELSIF metadata ~ '^[[:space:]]*[{]' THEN
        BEGIN
            columns := metadata::text[];
        EXCEPTION WHEN data_exception THEN
            columns := '{NULL}';
        END;
        IF array_ndims(columns) > 1 OR EXISTS (SELECT FROM unnest(columns) AS c WHERE c IS NULL) THEN
            RAISE EXCEPTION 'its metadata is %, which names no columns',
                quote_literal(left(metadata, 60)) USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Columns are written metadata => ''{price,tenant_id}''.';
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_texts(text, text) IS
    'Raises where the metadata or the filter of a source to attach says nothing.';

CREATE OR REPLACE FUNCTION @schema@.refuse_metadata(source text, row_key text, metadata jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(metadata);
BEGIN
    RAISE EXCEPTION 'the metadata of the row % of % is % %, and must be an object', row_key, source,
        CASE kind WHEN 'array' THEN 'an' ELSE 'a' END, kind USING
        ERRCODE = 'invalid_parameter_value',
        HINT = 'metadata => ''{price,tenant_id}'' takes columns; an expression gives an object, as '
               'jsonb_build_object() does.';
END $$;
COMMENT ON FUNCTION @schema@.refuse_metadata(text, text, jsonb) IS
    'Raises, with the key of the row of an attached source whose metadata is no object.';

CREATE OR REPLACE FUNCTION @schema@.metadata_object(source text, row_key text, metadata jsonb)
RETURNS jsonb
-- Becomes a part of the query. For types other than jsonb and json there is none, which why_unfit()
-- explains.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE coalesce(jsonb_typeof(metadata), 'null')
    WHEN 'object' THEN metadata
    WHEN 'null' THEN '{}'::jsonb
    ELSE @schema@.refuse_metadata(source, row_key, metadata) END;
COMMENT ON FUNCTION @schema@.metadata_object(text, text, jsonb) IS
    'The metadata of a row of an attached source; raises, with its key, where it is no object.';

CREATE OR REPLACE FUNCTION @schema@.metadata_object(source text, row_key text, metadata json)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN @schema@.metadata_object(source, row_key, metadata::jsonb);
COMMENT ON FUNCTION @schema@.metadata_object(text, text, json) IS
    'The metadata of a row of an attached source; raises, with its key, where it is no object.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_metadata(attachment integer, expressions_path text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s        record;
    row_key  text;
    metadata jsonb;
    is_shown boolean;
BEGIN
    SELECT a.name, format('%I.%I', n.nspname, c.relname) AS named,
           @schema@.attached_metadata(a.id) AS said,
           coalesce(a.definition ->> 'filter', 'true') AS filter,
           @schema@.attached_row_key(ARRAY(
               SELECT format('%I.%I', c.relname, k)
               FROM jsonb_array_elements_text(a.definition -> 'key') AS k)) AS row_key
    INTO s FROM @schema@.attached_sources AS a JOIN pg_class AS c ON c.oid = a.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.id = attachment AND c.relkind IN ('r', 'p', 'm')
      AND a.definition ->> 'metadata' !~ '^[[:space:]]*[{]';
    IF s IS NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.concat('SET LOCAL search_path TO ',
        coalesce(nullif(pg_catalog.btrim(expressions_path), ''), ''''''));
    BEGIN
        -- One row, whichever comes first: who writes into the table waits meanwhile.
        EXECUTE pg_catalog.format('SELECT %s, pg_catalog.to_jsonb(CASE WHEN true THEN (%s) END), '
            '(%s) FROM %s LIMIT 1', s.row_key, s.said, s.filter, s.named)
        INTO row_key, metadata, is_shown;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        RETURN;  -- a fault of that row, which its sync tells
    END;
    IF is_shown THEN
        PERFORM @schema@.metadata_object(s.name, row_key, metadata);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_metadata(integer, text) IS
    'Raises where the metadata of the first row of a table to attach is no object.';
