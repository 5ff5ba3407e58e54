-- The tables of a space's items. Those of the modalities that its model has an encoder for are made
-- with the space; those of the others that it embeds, by the encoder of another modality, when the
-- first of their rows is written: an empty partition would cost every search.

CREATE OR REPLACE FUNCTION @schema@.make_items_table(space integer, modality text) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s     record;
    name  text := format('multimodal_items_%s_s%s', modality, space);
    items text := format('@schema@.%I', name);
BEGIN
    SELECT e.name, e.dimensions, e.vector_type, e.compact_width,
           format('@vector@.%I(%s)', e.vector_type, e.dimensions) AS column_type,
           CASE e.vector_type WHEN 'halfvec' THEN 'l2_norm' ELSE 'vector_norm' END AS norm,
           e.dimensions * CASE e.vector_type WHEN 'halfvec' THEN 2 ELSE 4 END AS bytes
    INTO STRICT s FROM @schema@.embedding_spaces AS e WHERE e.id = space;
    -- With the CHECKs that make attaching it scan-free.
    EXECUTE format(
        'CREATE TABLE %s (LIKE @schema@.multimodal_items INCLUDING DEFAULTS INCLUDING COMMENTS, '
        'CONSTRAINT %I PRIMARY KEY (id, modality), '
        'CONSTRAINT %I UNIQUE (source_id, part, modality), '
        'CONSTRAINT %I CHECK (modality = %L), CONSTRAINT %I CHECK (space_id = %s))',
        items, name || '_pkey', name || '_source_part_unique', name || '_modality', modality,
        name || '_space', space);
    EXECUTE format(
        -- Inline up to a quarter of a page, so that a search fetches no TOAST.
        'ALTER TABLE %s ALTER COLUMN embedding TYPE %s, ALTER COLUMN embedding SET STORAGE %s',
        items, s.column_type, CASE WHEN s.bytes <= 2000 THEN 'PLAIN' ELSE 'EXTERNAL' END);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (abs(@vector@.%I(embedding) - 1) < 0.01)',
        items, name || '_unit_vector', s.norm);
    EXECUTE format('CREATE INDEX %I ON %s USING gin (metadata jsonb_path_ops)',
        name || '_metadata', items);
    EXECUTE format('CREATE INDEX %I ON %s USING hash (content_sha256)', name || '_content', items);
    EXECUTE format('COMMENT ON TABLE %s IS %L', items,
        format('Items of modality %s in the space %s.', modality, s.name));
    IF s.compact_width IS NOT NULL THEN
        PERFORM @schema@.keep_compact(items::regclass);
        EXECUTE format('ALTER TABLE %s ALTER COLUMN compact SET STORAGE PLAIN, '
            'ADD CONSTRAINT %I CHECK (compact IS NOT NULL)', items, name || '_compact');
    END IF;
    INSERT INTO @schema@.space_modalities (space_id, modality) VALUES (space, modality);
    RETURN items::regclass;
END $$;
COMMENT ON FUNCTION @schema@.make_items_table(integer, text) IS
    'Makes the table of one modality in one space, detached and without an HNSW index.';

CREATE OR REPLACE FUNCTION @schema@.make_derived_items(space integer, modality text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    items regclass;
    made  regclass;  -- the index that attaching made
BEGIN
    -- One at a time, and not while a space is being activated; in the way of no reader or writer.
    LOCK TABLE @schema@.multimodal_items IN SHARE UPDATE EXCLUSIVE MODE;
    IF NOT EXISTS (
        SELECT FROM @schema@.embedded_modalities AS e
        WHERE e.space_id = make_derived_items.space AND e.modality = make_derived_items.modality)
    THEN
        RAISE EXCEPTION 'space % embeds no %', space, quote_nullable(modality) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'See embedded_modalities.';
    ELSIF @schema@.items_table(space, modality) IS NOT NULL THEN
        RETURN false;
    END IF;
    items := @schema@.make_items_table(space, modality);
    IF EXISTS (SELECT FROM @schema@.embedding_spaces AS e WHERE e.id = space AND e.state = 'active')
    THEN
        EXECUTE format('ALTER TABLE @schema@.multimodal_items ATTACH PARTITION %s FOR VALUES IN (%L)',
            items, modality);
        -- Where there is a hull to hang it on, it has an HNSW index now: by the name that all have.
        SELECT h.inhrelid::regclass INTO made FROM pg_inherits AS h
        JOIN pg_index AS i ON i.indexrelid = h.inhrelid
        WHERE h.inhparent = to_regclass('@schema@.multimodal_items_embedding')
          AND i.indrelid = items;
        IF made IS NOT NULL THEN
            EXECUTE format('ALTER INDEX %s RENAME TO %I', made,
                format('multimodal_items_%s_s%s_embedding', modality, space));
        END IF;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION @schema@.make_derived_items(integer, text) IS
    'Makes the table, and for the active space the partition, of a modality that the space embeds '
    'by the encoder of another one; false: it has it already.';
