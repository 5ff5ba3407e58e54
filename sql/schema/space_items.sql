-- What the views on ingestion and on spaces count.

CREATE OR REPLACE FUNCTION @schema@.space_items(
    OUT space_id integer, OUT modality text, OUT items bigint, OUT per_minute real,
    OUT table_bytes bigint, OUT index_bytes bigint, OUT index_is_valid boolean
)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known  record;
    recent record;
    oldest timestamptz;
BEGIN
    FOR known IN
        SELECT m.space_id, m.modality, c.oid, c.reltuples, i.indexrelid, i.indisvalid
        FROM @schema@.space_modalities AS m
        JOIN pg_class AS c ON c.oid = @schema@.items_table(m.space_id, m.modality)
        LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indexrelid = to_regclass(
            format('@schema@.%I', c.relname || '_embedding'))
        ORDER BY m.space_id, m.modality
    LOOP
        space_id := known.space_id;
        modality := known.modality;
        IF known.reltuples > 1000000 THEN
            items := known.reltuples;  -- as of the last ANALYZE: counting takes seconds
        ELSE
            EXECUTE format('SELECT count(*) FROM %s', known.oid::regclass) INTO items;
        END IF;
        -- Numbers rise with time, so the newest items are read backwards until one is too old, or
        -- was written before a pause: who begins again is as fast as since then.
        per_minute := 0;
        oldest := now();
        FOR recent IN EXECUTE
            format('SELECT embedded_at, part FROM %s ORDER BY id DESC', known.oid::regclass)
        LOOP
            EXIT WHEN recent.embedded_at < now() - interval '15 minutes'
                OR per_minute > 0 AND recent.embedded_at < oldest - interval '1 minute';
            oldest := least(oldest, recent.embedded_at);
            -- As jobs are counted: a long text, a film or a document is one, of many parts.
            IF recent.part = 0 THEN
                per_minute := per_minute + 1;
            END IF;
        END LOOP;
        per_minute := per_minute / greatest(1, extract(epoch FROM (now() - oldest)) / 60);
        table_bytes := pg_table_size(known.oid);
        index_bytes := pg_relation_size(known.indexrelid);
        index_is_valid := known.indisvalid;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.space_items() IS
    'Per space and modality: items, source items embedded per minute over the last quarter hour, or '
    'since work began within it and made no pause of a minute, and sizes.';
