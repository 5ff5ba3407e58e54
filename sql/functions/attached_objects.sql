-- What is made for an attached source: how it is called, and whose it is.

CREATE OR REPLACE FUNCTION @schema@.attached_object(attachment integer, suffix text DEFAULT '')
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- They stay where they were made, also when the table moves to another schema.
    SELECT format('%I.pipeline_source_%s%s', n.nspname, s.id, suffix)
    FROM @schema@.attached_sources AS s
    JOIN pg_class AS c ON c.oid = coalesce(
        (SELECT v.oid FROM pg_class AS v WHERE v.oid = s.view), s.relation)
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE s.id = attachment
$$;
COMMENT ON FUNCTION @schema@.attached_object(integer, text) IS
    'The name, with its schema, of an object that is made for an attached source.';

CREATE OR REPLACE FUNCTION @schema@.take_from_others(kind text, object text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given record;
BEGIN
    -- What default privileges give to others as well as what PUBLIC has.
    FOR given IN
        SELECT a.grantee FROM (
            SELECT coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner FROM pg_proc AS p
            WHERE kind = 'FUNCTION' AND p.oid = to_regprocedure(object)
            UNION ALL
            SELECT coalesce(c.relacl, acldefault('r', c.relowner)), c.relowner FROM pg_class AS c
            WHERE kind = 'VIEW' AND c.oid = to_regclass(object)
        ) AS o (acl, owner) CROSS JOIN aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner GROUP BY 1
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
            CASE kind WHEN 'VIEW' THEN 'TABLE' ELSE kind END, object,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.take_from_others(text, text) IS
    'Leaves what was made for an attached source to its owner alone.';
