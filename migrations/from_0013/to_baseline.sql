-- What the folded migrations make otherwise than 0013 did.

CREATE TABLE known_modalities (
    name        text NOT NULL,
    media       text NOT NULL,
    inline      boolean NOT NULL,
    description text NOT NULL,
    CONSTRAINT known_modalities_pkey PRIMARY KEY (name),
    -- It is part of the names of tables and indexes, which end at 63 bytes.
    CONSTRAINT known_modalities_name_plain CHECK (name ~ '^[a-z][a-z0-9_]{0,19}$'),
    CONSTRAINT known_modalities_media_known
        CHECK (media IN ('text', 'image', 'audio', 'video', 'application'))
);
INSERT INTO known_modalities (name, media, inline, description) VALUES
    ('text', 'text', true, 'Words; a long text has several parts.'),
    ('image', 'image', false, 'A photograph, a drawing, a scan.'),
    ('audio', 'audio', false, 'A recording of sound.'),
    ('video', 'video', false, 'A film; its segments are its parts.'),
    ('document', 'application', false, 'A file of pages, such as a PDF.'),
    ('depth', 'image', false, 'An image whose values are distances.'),
    ('thermal', 'image', false, 'An image whose values are temperatures.'),
    ('imu', 'application', false, 'Acceleration and rotation over time.');

COMMENT ON TABLE known_modalities IS
    'What a source item may be; a further row allows a further modality.';
COMMENT ON COLUMN known_modalities.name IS 'The modality.';
COMMENT ON COLUMN known_modalities.media IS
    'The top level of its media type: text, image, audio, video or application.';
COMMENT ON COLUMN known_modalities.inline IS
    'Whether content_ref is the content itself, not the path or URI of it.';
COMMENT ON COLUMN known_modalities.description IS 'What it is.';

-- The names of modalities are rows now, which the triggers on source_items ask.
ALTER TABLE source_items DROP CONSTRAINT source_items_modality_known;
ALTER TABLE multimodal_items DROP CONSTRAINT multimodal_items_modality_known;
DO $$
DECLARE
    items regclass;
BEGIN
    FOR items IN
        SELECT to_regclass(format('multimodal_items_%s_s%s', modality, space_id))
        FROM space_modalities
    LOOP
        EXECUTE format(
            'ALTER TABLE %s DROP CONSTRAINT IF EXISTS multimodal_items_modality_known', items);
    END LOOP;
END $$;
ALTER TABLE space_modalities ADD CONSTRAINT space_modalities_modality_fkey
    FOREIGN KEY (modality) REFERENCES known_modalities (name);

COMMENT ON COLUMN source_items.modality IS 'One of known_modalities, such as image.';
COMMENT ON COLUMN source_items.content_ref IS 'The text itself, or the path or URI of the content.';
COMMENT ON TABLE space_modalities IS
    'The modalities a space embeds, with statistics for ranking and tuning.';
COMMENT ON COLUMN space_modalities.modality IS 'One of known_modalities.';
COMMENT ON COLUMN space_probes.modality IS 'One of the space''s.';
COMMENT ON COLUMN space_probes.content IS 'The text in UTF-8, or the bytes of the file.';
COMMENT ON COLUMN space_evaluations.query_modality IS 'What was searched with: a modality, or any.';
COMMENT ON COLUMN space_evaluations.item_modality IS 'What was searched for: a modality, or any.';
COMMENT ON TABLE multimodal_items IS
    'Unit vectors of all modalities in one shared space, with pointers.';
COMMENT ON COLUMN multimodal_items.part IS
    'Which part of the source item, from 0: a window of a text, say.';
COMMENT ON COLUMN multimodal_items.modality IS 'One of known_modalities, such as image.';
COMMENT ON COLUMN multimodal_items.content_ref IS
    'The text itself, or the path or URI of the content.';
COMMENT ON COLUMN item_match.part IS 'The best part of the source item.';
COMMENT ON COLUMN item_match.modality IS 'Its modality, such as image.';
COMMENT ON COLUMN item_match.content_ref IS 'The text itself, or the path or URI of the content.';
COMMENT ON COLUMN hybrid_match.modality IS 'Its modality, such as image.';
COMMENT ON COLUMN hybrid_match.content_ref IS 'The text itself, or the path or URI of the content.';
COMMENT ON COLUMN query_embeddings.query_sha256 IS 'The key: query_key(query).';
COMMENT ON COLUMN query_embeddings.query IS 'The query''s text, as it was asked.';

CREATE TABLE installed_sql (
    sha256       text NOT NULL,
    version      text NOT NULL,
    roles        boolean NOT NULL,
    objects      text[] NOT NULL,
    grants       text[] NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT installed_sql_pkey PRIMARY KEY (sha256)
);
COMMENT ON TABLE installed_sql IS
    'One row: which functions, triggers and views the last migrate installed.';
COMMENT ON COLUMN installed_sql.sha256 IS 'SHA-256 of their text.';
COMMENT ON COLUMN installed_sql.version IS 'Version of the package they came with.';
COMMENT ON COLUMN installed_sql.roles IS 'Whether the roles pipeline_* are among it.';
COMMENT ON COLUMN installed_sql.objects IS
    'What was made, with its kind; what a later release lacks goes.';
COMMENT ON COLUMN installed_sql.grants IS
    'What the roles were given; it is not given again.';
COMMENT ON COLUMN installed_sql.installed_at IS 'When.';

-- What 0013 had made besides tables, so that what is no longer wanted of it goes.
INSERT INTO installed_sql (sha256, version, roles, grants, objects)
SELECT '0013', '0.1.0', false, '{}', array_agg(
    i.type || ' ' || replace(i.identity, quote_ident(current_schema()) || '.', '@schema@.'))
FROM (
    SELECT 'pg_proc'::regclass, to_regprocedure(name)::oid
    FROM unnest(ARRAY[
        'ask_for_query_embeddings(text[])',
        'blend_embeddings(halfvec[],real[])',
        'cached_query_embeddings(text[])',
        'classify_items(text[],text,bigint[],text,jsonb)',
        'configure_loopback(text,text,text,integer)',
        'embed_queries(text[],interval)',
        'embed_query(text,interval)',
        'enqueue_source_items(bigint[])',
        'grant_items_table()',
        'has_few_matches(text,jsonb,bigint)',
        'hybrid_search(text,text[],integer,jsonb,real,real,integer,text)',
        'is_served(integer)',
        'item_document(text,text,jsonb)',
        'item_embedding(bigint)',
        'loopback_connection()',
        'modality_means(integer)',
        'near_duplicates(real,text,jsonb,integer)',
        'query_embeddings_missing(text[])',
        'refresh_space_statistics(text)',
        'search_items(text,halfvec,bigint,text[],integer,jsonb,real,text,text)',
        'source_items_deleted()',
        'source_items_inserted()',
        'source_items_touch()',
        'source_items_truncated()',
        'source_items_updated()',
        'space_items()',
        'text_embedding(text,interval)',
        'text_embeddings(text[],interval)',
        'text_embeddings_by_loopback(text[],interval)',
        'touch_query_embeddings(text[])'
    ]) AS name
    UNION ALL
    SELECT 'pg_class'::regclass, to_regclass(name)::oid
    FROM unnest(ARRAY['ingest_failures', 'ingest_status', 'item_catalog', 'space_status']) AS name
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
    WHERE (tgrelid, tgname) IN (
        ('source_items'::regclass, 'source_items_deleted'),
        ('source_items'::regclass, 'source_items_inserted'),
        ('source_items'::regclass, 'source_items_touch'),
        ('source_items'::regclass, 'source_items_truncated'),
        ('source_items'::regclass, 'source_items_updated'),
        ('space_modalities'::regclass, 'space_modalities_grant')
    )
) AS o (catalogue, object)
CROSS JOIN LATERAL pg_identify_object(o.catalogue, o.object, 0) AS i
WHERE o.object IS NOT NULL;
