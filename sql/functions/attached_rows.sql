-- From the rows of an attached source to their source items, for SQLAlchemy: see
-- pipeline/search/attached_rows.py.

CREATE OR REPLACE FUNCTION @schema@.row_key_text(value anyelement) RETURNS text
-- Under the settings of the functions that write row_key, so it depends on nothing but the value.
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$ BEGIN RETURN value::text; END $$;
COMMENT ON FUNCTION @schema@.row_key_text(anyelement) IS
    'A key of one column as it stands in source_items.row_key, whatever the session''s time zone '
    'and styles.';

CREATE OR REPLACE FUNCTION @schema@.row_key_json(value anyelement) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$ BEGIN RETURN to_jsonb(value); END $$;
COMMENT ON FUNCTION @schema@.row_key_json(anyelement) IS
    'One column of a key as it stands in the JSON array of source_items.row_key.';

CREATE OR REPLACE FUNCTION @schema@.attached_modality(name text, contents text[]) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known   jsonb := (SELECT s.definition -> 'contents' FROM @schema@.attached_sources AS s
                      WHERE s.id = @schema@.attached_source($1));
    unknown text := (SELECT string_agg(quote_literal(c), ', ') FROM unnest(contents) AS c
                     WHERE known -> c IS NULL);
    answer  text[] := ARRAY(SELECT DISTINCT known -> c ->> 'modality' FROM unnest(contents) AS c);
BEGIN
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION '% has no content %', name, unknown USING ERRCODE = 'invalid_parameter_value',
            HINT = coalesce(format('It has %s.', (SELECT string_agg(k, ', ' ORDER BY k)
                FROM jsonb_object_keys(known) AS k)), 'It is no table.');
    ELSIF cardinality(answer) <> 1 THEN
        RAISE EXCEPTION '% of % are of several modalities, whose distances do not compare',
            array_to_string(contents, ', '), name USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Ask for the contents of one modality at a time.';
    END IF;
    RETURN answer[1];
END $$;
COMMENT ON FUNCTION @schema@.attached_modality(text, text[]) IS
    'The modality of these contents of an attached table; an error where it has none of them.';

CREATE OR REPLACE FUNCTION @schema@.is_attached_by(name text, key text[]) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source  record;
    columns text[];
BEGIN
    SELECT s.id, s.relation, s.definition INTO source FROM @schema@.attached_sources AS s
    WHERE s.name = $1 AND s.relation IS NOT NULL;
    columns := ARRAY(SELECT coalesce(k.name, quote_ident(source.definition -> 'key' ->> (k.n - 1)::integer))
                     FROM @schema@.attached_key(source.id) AS k ORDER BY k.n);
    IF columns <> ARRAY(SELECT quote_ident(k) FROM unnest(key) WITH ORDINALITY AS o (k, n) ORDER BY n)
       -- A class of another view of the table may call them otherwise.
       AND NOT EXISTS (SELECT FROM unnest(key) AS k WHERE NOT EXISTS (
           SELECT FROM pg_attribute AS c
           WHERE c.attrelid = source.relation AND c.attname = k AND NOT c.attisdropped))
    THEN
        RAISE EXCEPTION '% is attached by (%), not by (%)', name, array_to_string(columns, ', '),
            array_to_string(key, ', ') USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Say it to items_of(), nearest_rows() or source_row(): key=[%s].', (
                SELECT string_agg(format('"%s"', c), ', ' ORDER BY n)
                FROM unnest(columns) WITH ORDINALITY AS o (c, n)));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION @schema@.is_attached_by(text, text[]) IS
    'An error where a table is attached by other columns than these, or by these in another order.';
