-- A table or view as a source: what is made for it, and how it is undone.
--
-- Three kinds of things are made, beside the table, under names of their own (pipeline_source_7...):
-- a view that says what source_items must hold; functions of the table's owner, so that nobody's
-- rights grow; and triggers, which only say which rows changed.

CREATE OR REPLACE FUNCTION @schema@.attach_source(
    relation regclass,
    contents jsonb,
    name     text    DEFAULT NULL,
    metadata text    DEFAULT NULL,
    key      text[]  DEFAULT NULL,
    filter   text    DEFAULT NULL,
    capture  text    DEFAULT 'auto',
    on_error text    DEFAULT 'warn',
    depends_on regclass[] DEFAULT '{}')
RETURNS text
-- The search path of whoever calls is that of the expressions; all the rest is named in full.
LANGUAGE sql VOLATILE
AS $$ SELECT @schema@.attach_relation(relation, contents, name, metadata, key, filter, capture,
    on_error, depends_on, pg_catalog.current_setting('search_path')) $$;
COMMENT ON FUNCTION @schema@.attach_source(
    regclass, jsonb, text, text, text[], text, text, text, regclass[]) IS
    'Makes source_items follow a table or a view: attach_source(''products'', ''{"photo": '
    '{"modality": "image", "content": "photo_url"}}''). Returns its name. Its rows that are there '
    'already come by CALL backfill_source(name).';

CREATE OR REPLACE FUNCTION @schema@.attach_relation(
    relation regclass, contents jsonb, name text, metadata text, key text[], filter text,
    capture text, on_error text, depends_on regclass[], expressions_path text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    attachment  integer;
    sources     text[];
    key_columns text[];
    how         text;
BEGIN
    depends_on := ARRAY(SELECT DISTINCT o FROM unnest(depends_on) AS o WHERE o IS NOT NULL);
    PERFORM @schema@.check_may_attach(relation);
    name := coalesce(name, (SELECT c.relname FROM pg_class AS c WHERE c.oid = relation));
    PERFORM @schema@.check_attached_name(name, relation);
    PERFORM @schema@.check_attached_contents(name, contents);
    PERFORM @schema@.check_attached_texts(metadata, filter);
    SELECT array_agg(format('%s.%s', name, c.content) ORDER BY c.content) INTO sources
    FROM jsonb_object_keys(contents) AS c (content);
    PERFORM @schema@.check_sources_are_free(name, sources);
    key_columns := @schema@.attachable_key(relation, key);
    how := @schema@.capture_of(relation, capture);
    IF on_error IS NULL OR on_error NOT IN ('warn', 'raise') THEN
        RAISE EXCEPTION 'on_error is %, and must be warn or raise', quote_nullable(on_error)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF how <> 'scan' THEN
        PERFORM @schema@.check_may_depend(depends_on);
    END IF;
    INSERT INTO @schema@.attached_sources AS a
        (name, relation, capture, on_error, sources, definition)
    VALUES (name, relation, how, on_error, sources, jsonb_build_object(
        'contents', contents, 'metadata', metadata, 'key', key_columns, 'filter', filter,
        'depends_on', depends_on::text[]))
    ON CONFLICT ON CONSTRAINT attached_sources_name_unique DO NOTHING
    RETURNING id INTO attachment;
    IF attachment IS NULL THEN  -- by somebody who did it meanwhile
        RAISE EXCEPTION '% is attached already', name USING ERRCODE = 'duplicate_object',
            HINT = 'Give another name, or detach that one first.';
    END IF;
    PERFORM @schema@.make_attached_view(attachment, expressions_path);
    PERFORM @schema@.check_attached_view(attachment);
    PERFORM @schema@.check_attached_metadata(attachment, expressions_path);
    PERFORM @schema@.check_attached_volatility(attachment);
    PERFORM @schema@.check_attached_expressions(attachment);
    IF how <> 'scan' THEN
        -- All at once or none, so that whoever writes one of them waits for none of the others.
        PERFORM @schema@.lock_together(
            relation || depends_on, 'SHARE ROW EXCLUSIVE');
    END IF;
    PERFORM @schema@.make_trigger_function(attachment, '');
    PERFORM @schema@.make_attached_triggers(attachment);
    PERFORM @schema@.renew_quick_statements(attachment);
    PERFORM @schema@.make_attached_publication(attachment);
    PERFORM @schema@.make_dependency_triggers(attachment);
    PERFORM @schema@.make_attached_items_view(attachment);
    PERFORM @schema@.note_attached_problem(attachment, 'it was not synced yet');
    RETURN name;
END $$;
COMMENT ON FUNCTION @schema@.attach_relation(
    regclass, jsonb, text, text, text[], text, text, text, regclass[], text) IS
    'What attach_source() does, with the search path of the expressions.';
