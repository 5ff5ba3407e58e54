-- What can be attached, and by whom.

CREATE OR REPLACE FUNCTION @schema@.check_may_attach(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t record;
    lacking text;
BEGIN
    SELECT c.relname, c.relkind, c.relpersistence, c.relnamespace, n.nspname, c.relrowsecurity,
           c.relforcerowsecurity,
           pg_get_userbyid(c.relowner) AS owner,
           quote_ident(pg_get_userbyid(c.relowner)) AS owner_named
    INTO t
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    IF t IS NULL OR t.relkind NOT IN ('r', 'p', 'v', 'm', 'f') THEN
        RAISE EXCEPTION '% is not a table or a view', coalesce(relation::text, 'NULL') USING
            ERRCODE = 'wrong_object_type', HINT = 'attach_source(''public.products'', ...)';
    ELSIF t.relpersistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table, and would be gone', relation USING
            ERRCODE = 'wrong_object_type', HINT = 'Attach a table that stays.';
    ELSIF relation IN (
        SELECT i.relid FROM pg_partition_tree('@schema@.multimodal_items') AS i
        UNION SELECT o FROM unnest(ARRAY['@schema@.source_items', '@schema@.ingest_jobs',
            '@schema@.attached_sources', '@schema@.attached_source_problems',
            '@schema@.attached_objects', '@schema@.attached_listing_pages',
            '@schema@.media_roots', '@schema@.deleted_items', '@schema@.space_modalities',
            '@schema@.query_embeddings', '@schema@.embedding_spaces']::regclass[]) AS o
    ) OR t.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
        RAISE EXCEPTION '% is not a table of yours', relation USING
            ERRCODE = 'wrong_object_type', HINT = 'Attach a table with content of your own.';
    ELSIF EXISTS (
        SELECT FROM @schema@.views_beneath(relation) AS b
        WHERE b IN ('@schema@.source_items'::regclass, '@schema@.multimodal_items'::regclass)
    ) THEN
        RAISE EXCEPTION '% reads what comes of what is attached, which would come again of that at '
            'each sync', relation USING ERRCODE = 'wrong_object_type',
            HINT = 'Attach a table with content of your own, or a view of one.';
    ELSIF EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = relation) AND t.relkind = 'r'
       OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = relation) AND t.relkind = 'r'
       OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relispartition) THEN
        RAISE EXCEPTION '% is part of an inheritance tree', relation USING
            ERRCODE = 'feature_not_supported',
            HINT = 'Attach the partitioned table as a whole; or a view of it, which is scanned.';
    ELSIF current_user <> t.owner THEN
        RAISE EXCEPTION 'only % may attach %, and you are %', t.owner, relation, current_user USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'Triggers act for whoever owns the table, so its owner says that they may: log in '
                   'as that role, or SET ROLE where you trust it.';
    ELSIF t.relrowsecurity AND t.relforcerowsecurity THEN
        RAISE EXCEPTION 'row-level security hides rows of % from its owner', relation USING
            ERRCODE = 'feature_not_supported',
            HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', relation);
    END IF;
    SELECT string_agg(DISTINCT p.table::regclass::text, ', ') INTO lacking
    FROM unnest(ARRAY['@schema@.source_items', '@schema@.attached_sources',
        '@schema@.attached_source_problems']) AS p ("table")
    CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS n (needed)
    WHERE NOT has_table_privilege(t.owner, p.table, n.needed);
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION '%, who owns %, may not write %', t.owner, relation, lacking USING
            ERRCODE = 'insufficient_privilege',
            HINT = CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_ingest')
                THEN format('GRANT pipeline_ingest TO %s;', t.owner_named)
                ELSE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;', lacking,
                    t.owner_named)
                END;
    END IF;
    IF NOT has_schema_privilege(t.owner, t.relnamespace, 'CREATE') THEN
        RAISE EXCEPTION '%, who owns %, may not create a view and functions beside it', t.owner,
            relation USING ERRCODE = 'insufficient_privilege',
            HINT = format('GRANT CREATE ON SCHEMA %I TO %s;', t.nspname, t.owner_named);
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_may_attach(regclass) IS
    'Raises where this relation cannot be attached, or not by whoever asks.';

CREATE OR REPLACE FUNCTION @schema@.check_attached_contents(name text, contents jsonb)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c record;
    example text := '{"photo": {"modality": "image", "content": "photo_url"}}';
BEGIN
    IF contents IS NULL OR jsonb_typeof(contents) <> 'object' OR contents = '{}' THEN
        RAISE EXCEPTION 'contents is %, and must be an object of at least one content',
            coalesce(left(contents::text, 60), 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = example;
    END IF;
    FOR c IN SELECT e.key AS called, e.value AS said FROM jsonb_each(contents) AS e LOOP
        IF c.called !~ '^[[:alnum:]_-]+$' THEN
            RAISE EXCEPTION 'the content % needs a name of letters, digits, _ and -',
                quote_literal(c.called) USING ERRCODE = 'invalid_parameter_value', HINT = example;
        ELSIF jsonb_typeof(c.said) <> 'object'
           OR jsonb_typeof(c.said -> 'content') IS DISTINCT FROM 'string'
           OR c.said ->> 'content' !~ '[^[:space:]]' THEN
            RAISE EXCEPTION 'the content % says no column or expression', c.called USING
                ERRCODE = 'invalid_parameter_value', HINT = example;
        ELSIF jsonb_typeof(coalesce(c.said -> 'each', 'false')) <> 'boolean' THEN
            RAISE EXCEPTION '"each" of the content % is %, and must be true or false', c.called,
                c.said -> 'each' USING ERRCODE = 'invalid_parameter_value';
        ELSIF c.said - '{modality,content,each}'::text[] <> '{}' THEN
            RAISE EXCEPTION 'the content % has %, which means nothing', c.called,
                (SELECT string_agg(quote_literal(k), ', ')
                 FROM jsonb_object_keys(c.said - '{modality,content,each}'::text[]) AS k)
                USING ERRCODE = 'invalid_parameter_value',
                HINT = 'There are modality, content and each.';
        END IF;
        IF NOT EXISTS (SELECT FROM @schema@.known_modalities AS k
                       WHERE k.name = c.said ->> 'modality') THEN
            PERFORM @schema@.refuse_modalities(ARRAY[coalesce(c.said ->> 'modality', '')]);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.check_attached_contents(text, jsonb) IS
    'Raises where the contents of a source to attach are not well-formed.';

CREATE OR REPLACE FUNCTION @schema@.check_sources_are_free(name text, sources text[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    taken text;
BEGIN
    IF EXISTS (SELECT FROM @schema@.attached_sources AS a WHERE a.name = $1) THEN
        RAISE EXCEPTION '% is attached already', name USING ERRCODE = 'duplicate_object',
            HINT = 'Give another name, or detach that one first.';
    END IF;
    SELECT s INTO taken FROM unnest(sources) AS s
    WHERE EXISTS (SELECT FROM @schema@.attached_sources AS a WHERE s = ANY (a.sources))
       OR EXISTS (SELECT FROM @schema@.source_items AS i WHERE i.source = s AND i.row_key IS NULL)
    LIMIT 1;
    IF taken IS NOT NULL THEN
        RAISE EXCEPTION 'there are source items of %, which are somebody else''s', taken USING
            ERRCODE = 'duplicate_object', HINT = 'Give the source another name.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_sources_are_free(text, text[]) IS
    'Raises where others have source items under the names of a source to attach.';

CREATE OR REPLACE FUNCTION @schema@.attachable_key(relation regclass, key text[]) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer  text[];
    wanting text;
BEGIN
    IF key IS NOT NULL THEN
        SELECT string_agg(quote_nullable(k), ', ') INTO wanting FROM unnest(key) AS k
        WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation
                          AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped);
        IF wanting IS NOT NULL OR cardinality(key) = 0 THEN
            RAISE EXCEPTION '% has no column %', relation, coalesce(wanting, '{}') USING
                ERRCODE = 'undefined_column', HINT = format('It has %s.', (
                    SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped));
        END IF;
    END IF;
    -- The primary key, or else the unique index with the fewest columns, of those that are NOT NULL.
    SELECT array_agg(a.attname ORDER BY k.n) INTO answer
    FROM (
        SELECT i.indexrelid, i.indkey FROM pg_index AS i
        WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
          AND i.indexprs IS NULL AND NOT EXISTS (
            SELECT FROM unnest(i.indkey[:i.indnkeyatts - 1]) AS c (attnum)
            JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = c.attnum
            WHERE NOT a.attnotnull)
          AND (key IS NULL OR (
            SELECT array_agg(a.attname::text ORDER BY a.attname)
            FROM unnest(i.indkey[:i.indnkeyatts - 1]) AS c (attnum)
            JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = c.attnum
          ) = (SELECT array_agg(k ORDER BY k) FROM unnest(key) AS k))
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1
    ) AS best
    CROSS JOIN LATERAL unnest(best.indkey[:(SELECT i.indnkeyatts FROM pg_index AS i
        WHERE i.indexrelid = best.indexrelid) - 1]) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = k.attnum;
    IF answer IS NOT NULL THEN
        RETURN coalesce(key, answer);
    ELSIF (SELECT c.relkind IN ('v', 'm', 'f') FROM pg_class AS c WHERE c.oid = relation) THEN
        IF key IS NOT NULL THEN
            RETURN key;  -- nothing could prove it; a sync sees it
        END IF;
        RAISE EXCEPTION '% is no table, so nothing says what its key is', relation USING
            ERRCODE = 'invalid_parameter_value', HINT = (
                SELECT format('Give the columns that tell its rows apart, such as key => ''{%s}''. '
                    'It has %s.', (array_agg(quote_ident(a.attname) ORDER BY a.attnum))[1],
                    string_agg(a.attname, ', ' ORDER BY a.attnum))
                FROM pg_attribute AS a
                WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
    END IF;
    RAISE EXCEPTION '% has no %', relation, CASE WHEN key IS NULL THEN 'key'
        ELSE format('unique index of columns NOT NULL over %s', array_to_string(key, ', ')) END
        USING ERRCODE = 'invalid_table_definition',
        HINT = CASE WHEN key IS NULL THEN format(
            'ALTER TABLE %s ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;',
            relation) ELSE format('ALTER TABLE %s ADD UNIQUE (%s)%s;', relation,
                (SELECT string_agg(quote_ident(k), ', ') FROM unnest(key) AS k),
                (SELECT string_agg(format(', ALTER %I SET NOT NULL', k), '')
                 FROM unnest(key) AS k)) END;
END $$;
COMMENT ON FUNCTION @schema@.attachable_key(regclass, text[]) IS
    'The columns that tell the rows of a relation apart: its primary key, or those asked for.';

CREATE OR REPLACE FUNCTION @schema@.capture_of(relation regclass, asked text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_table boolean := (SELECT c.relkind IN ('r', 'p') FROM pg_class AS c WHERE c.oid = relation);
BEGIN
    IF asked IS NULL OR asked NOT IN ('auto', 'statement', 'row', 'logical', 'scan') THEN
        RAISE EXCEPTION 'there is no capture %', quote_nullable(asked) USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'Use auto, statement, row, logical or scan.';
    ELSIF NOT is_table AND asked NOT IN ('auto', 'scan') THEN
        RAISE EXCEPTION '% is no table, and cannot say what changes in it', relation USING
            ERRCODE = 'wrong_object_type', HINT = 'capture => ''scan''';
    END IF;
    RETURN CASE WHEN asked <> 'auto' THEN asked WHEN is_table THEN 'statement' ELSE 'scan' END;
END $$;
COMMENT ON FUNCTION @schema@.capture_of(regclass, text) IS
    'How the changes of a relation are noticed.';

CREATE OR REPLACE FUNCTION @schema@.lock_together(relations regclass[], mode text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    relation regclass;
BEGIN
    FOR attempt IN 1 .. 100 LOOP
        BEGIN
            FOREACH relation IN ARRAY relations LOOP
                EXECUTE format('LOCK TABLE %s IN %s MODE', relation, mode);
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN  -- with those that it has got
            PERFORM pg_sleep(0.1 + random() / 5);
        END;
    END LOOP;
    RAISE EXCEPTION '% is in use', relation USING ERRCODE = 'lock_not_available',
        HINT = 'A transaction has used it for longer than 20 s; try again once it ended.';
END $$;
COMMENT ON FUNCTION @schema@.lock_together(regclass[], text) IS
    'Locks tables, as soon as nobody has to wait for any of them.';
