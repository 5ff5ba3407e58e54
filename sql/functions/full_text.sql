-- Full text of source items, each in its own language: by metadata's "language", else the database's.
--
-- An index is made of these, so they are immutable, and the database's language is the text of a
-- function: CALL configure_text_search('german') puts another there and builds the index anew. It has
-- an argument, since a plan that a session keeps would hold the answer of a function without one.

DO $$
DECLARE
    chosen regconfig := 'pg_catalog.english';
BEGIN
    IF to_regprocedure('@schema@.text_search_default(text)') IS NOT NULL THEN  -- an upgrade keeps it
        EXECUTE 'SELECT @schema@.text_search_default(NULL)' INTO chosen;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION @schema@.text_search_default(language text) RETURNS '
        'regconfig LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN %L::regconfig', chosen);
END $$;
COMMENT ON FUNCTION @schema@.text_search_default(text) IS
    'The text search configuration of source items that do not say their language.';

CREATE OR REPLACE FUNCTION @schema@.text_search_of(language text) RETURNS regconfig
-- By PostgreSQL's name or the ISO 639-1 code, with or without a region: german, de, de-AT.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE split_part(replace(lower(btrim(language)), '_', '-'), '-', 1)
    WHEN '' THEN @schema@.text_search_default(language)
    WHEN 'ar' THEN 'pg_catalog.arabic'::regconfig WHEN 'arabic' THEN 'pg_catalog.arabic'
    WHEN 'hy' THEN 'pg_catalog.armenian' WHEN 'armenian' THEN 'pg_catalog.armenian'
    WHEN 'eu' THEN 'pg_catalog.basque' WHEN 'basque' THEN 'pg_catalog.basque'
    WHEN 'ca' THEN 'pg_catalog.catalan' WHEN 'catalan' THEN 'pg_catalog.catalan'
    WHEN 'da' THEN 'pg_catalog.danish' WHEN 'danish' THEN 'pg_catalog.danish'
    WHEN 'nl' THEN 'pg_catalog.dutch' WHEN 'dutch' THEN 'pg_catalog.dutch'
    WHEN 'en' THEN 'pg_catalog.english' WHEN 'english' THEN 'pg_catalog.english'
    WHEN 'fi' THEN 'pg_catalog.finnish' WHEN 'finnish' THEN 'pg_catalog.finnish'
    WHEN 'fr' THEN 'pg_catalog.french' WHEN 'french' THEN 'pg_catalog.french'
    WHEN 'de' THEN 'pg_catalog.german' WHEN 'german' THEN 'pg_catalog.german'
    WHEN 'el' THEN 'pg_catalog.greek' WHEN 'greek' THEN 'pg_catalog.greek'
    WHEN 'hi' THEN 'pg_catalog.hindi' WHEN 'hindi' THEN 'pg_catalog.hindi'
    WHEN 'hu' THEN 'pg_catalog.hungarian' WHEN 'hungarian' THEN 'pg_catalog.hungarian'
    WHEN 'id' THEN 'pg_catalog.indonesian' WHEN 'indonesian' THEN 'pg_catalog.indonesian'
    WHEN 'ga' THEN 'pg_catalog.irish' WHEN 'irish' THEN 'pg_catalog.irish'
    WHEN 'it' THEN 'pg_catalog.italian' WHEN 'italian' THEN 'pg_catalog.italian'
    WHEN 'lt' THEN 'pg_catalog.lithuanian' WHEN 'lithuanian' THEN 'pg_catalog.lithuanian'
    WHEN 'ne' THEN 'pg_catalog.nepali' WHEN 'nepali' THEN 'pg_catalog.nepali'
    WHEN 'no' THEN 'pg_catalog.norwegian' WHEN 'nb' THEN 'pg_catalog.norwegian'
    WHEN 'nn' THEN 'pg_catalog.norwegian' WHEN 'norwegian' THEN 'pg_catalog.norwegian'
    WHEN 'pt' THEN 'pg_catalog.portuguese' WHEN 'portuguese' THEN 'pg_catalog.portuguese'
    WHEN 'ro' THEN 'pg_catalog.romanian' WHEN 'romanian' THEN 'pg_catalog.romanian'
    WHEN 'ru' THEN 'pg_catalog.russian' WHEN 'russian' THEN 'pg_catalog.russian'
    WHEN 'sr' THEN 'pg_catalog.serbian' WHEN 'serbian' THEN 'pg_catalog.serbian'
    WHEN 'es' THEN 'pg_catalog.spanish' WHEN 'spanish' THEN 'pg_catalog.spanish'
    WHEN 'sv' THEN 'pg_catalog.swedish' WHEN 'swedish' THEN 'pg_catalog.swedish'
    WHEN 'ta' THEN 'pg_catalog.tamil' WHEN 'tamil' THEN 'pg_catalog.tamil'
    WHEN 'tr' THEN 'pg_catalog.turkish' WHEN 'turkish' THEN 'pg_catalog.turkish'
    WHEN 'yi' THEN 'pg_catalog.yiddish' WHEN 'yiddish' THEN 'pg_catalog.yiddish'
    ELSE CASE WHEN language IS NULL THEN @schema@.text_search_default(language)
         ELSE 'pg_catalog.simple' END
END;
COMMENT ON FUNCTION @schema@.text_search_of(text) IS
    'The text search configuration of a language, german, de or de-AT; simple, words as they are, of '
    'one that PostgreSQL does not know; the database''s where none is said.';

CREATE OR REPLACE FUNCTION @schema@.item_document(modality text, content_ref text, metadata jsonb)
RETURNS tsvector
-- Immutable, as an index on source_items is made of it (sql/schema/full_text_index.sql). So it may
-- ask no table which modalities are words: it is text. Cut where a tsvector would refuse (1 MB).
-- All that it calls is immutable, as concat_ws is not: only so it is a part of the query, which is
-- 4 times as fast as a call a row.
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector(@schema@.text_search_of(metadata ->> 'language'), left(
    coalesce((metadata ->> 'title') || ' ', '') || coalesce((metadata ->> 'caption') || ' ', '')
    || coalesce((metadata ->> 'description') || ' ', '')
    || coalesce((metadata ->> 'alt') || ' ', '') || coalesce((metadata ->> 'tags') || ' ', '')
    || CASE WHEN modality = 'text' THEN content_ref ELSE '' END, 100000));
COMMENT ON FUNCTION @schema@.item_document(text, text, jsonb) IS
    'What full text finds of a source item: its text, and title, caption, description, alt and '
    'tags of its metadata, in the language of its metadata.';

CREATE OR REPLACE FUNCTION @schema@.words_of(query text, metadata jsonb) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN websearch_to_tsquery(@schema@.text_search_of(metadata ->> 'language'), query);
COMMENT ON FUNCTION @schema@.words_of(text, jsonb) IS
    'The words that are looked for in a source item of this metadata: in its language.';

CREATE OR REPLACE FUNCTION @schema@.words_of_any(query text) RETURNS tsquery
-- What every language makes of the words: the index is asked once for all of them. Which rows have
-- the words in their own language is looked at then, by words_of().
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format('(%s)', made.words), ' | ')::tsquery
    FROM (
        SELECT DISTINCT websearch_to_tsquery(config, query)::text AS words
        FROM (
            SELECT @schema@.text_search_of(language) AS config FROM unnest('{ar,hy,eu,ca,da,nl,en,'
                'fi,fr,de,el,hi,hu,id,ga,it,lt,ne,no,pt,ro,ru,sr,es,sv,ta,tr,yi,none,NULL}'
                ::text[]) AS known (language)
        ) AS configs
    ) AS made
    WHERE made.words <> ''
$$;
COMMENT ON FUNCTION @schema@.words_of_any(text) IS
    'The words that are looked for, in every language: item_document(...) @@ words_of_any(query) is '
    'served by the index, and AND item_document(...) @@ words_of(query, metadata) is exact.';

CREATE OR REPLACE FUNCTION @schema@.build_full_text_index() RETURNS void
-- Whole and anew: an index knows nothing of a change in the functions it is made of.
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DROP INDEX IF EXISTS @schema@.source_items_document;
    CREATE INDEX source_items_document ON @schema@.source_items
        USING gin (@schema@.item_document(modality, content_ref, metadata));
    EXECUTE format('COMMENT ON INDEX @schema@.source_items_document IS %L',
        @schema@.full_text_made_of());
END $$;
COMMENT ON FUNCTION @schema@.build_full_text_index() IS
    'Builds the full text index of the source items anew.';

CREATE OR REPLACE FUNCTION @schema@.full_text_made_of() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN format('Full text of the source items, made by functions of MD5 %s.', md5(
    pg_get_functiondef('@schema@.item_document(text, text, jsonb)'::regprocedure)
    || pg_get_functiondef('@schema@.text_search_of(text)'::regprocedure)
    || pg_get_functiondef('@schema@.text_search_default(text)'::regprocedure)));
COMMENT ON FUNCTION @schema@.full_text_made_of() IS
    'What the full text index says of what it is made of: where that differs, it is built anew.';

CREATE OR REPLACE PROCEDURE @schema@.configure_text_search(config regconfig)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF config IS NULL THEN
        RAISE EXCEPTION 'config is null' USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'CALL configure_text_search(''german''); or ''simple'': words as they are.';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION @schema@.text_search_default(language text) RETURNS '
        'regconfig LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN %L::regconfig', config);
    PERFORM @schema@.build_full_text_index();
END $$;
COMMENT ON PROCEDURE @schema@.configure_text_search(regconfig) IS
    'The language of source items that do not say theirs, for the whole database: CALL '
    'configure_text_search(''german''). Builds the index anew, while nobody writes source items.';
