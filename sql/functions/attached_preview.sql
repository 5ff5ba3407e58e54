-- What the rows of an attached source give, where some of them cannot be read.

CREATE OR REPLACE FUNCTION @schema@.count_readable(
    attachment integer, OUT rows bigint, OUT of_sources jsonb)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$
DECLARE
    keys       text[];
    counted    record;
    unreadable jsonb := '[]';
BEGIN
    PERFORM @schema@.check_is_owner(attachment);
    rows := 0; of_sources := '{}';
    FOR keys IN SELECT c FROM @schema@.keys_by_chunk(attachment) AS c LOOP
        SELECT * INTO counted FROM @schema@.run_for_each(
            attachment, @schema@.unreadable_statement(attachment, 'count'), keys, NULL, NULL);
        rows := rows + counted.added;
        of_sources := (
            SELECT coalesce(jsonb_object_agg(t.source, t.items), '{}') FROM (
                SELECT f.source, sum(f.items) AS items FROM (
                    SELECT key AS source, value::bigint AS items FROM jsonb_each_text(of_sources)
                    UNION ALL SELECT d, 1 FROM unnest(counted.differing) AS d
                ) AS f GROUP BY f.source) AS t);
        unreadable := unreadable || counted.unreadable;
    END LOOP;
    PERFORM @schema@.note_unreadable(attachment, unreadable);
END $$;
COMMENT ON FUNCTION @schema@.count_readable(integer) IS
    'How many rows of an attached source give source items, and how many of each source; rows that '
    'cannot be read are noted.';
