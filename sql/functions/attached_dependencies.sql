-- Other tables that the expressions of an attached source read.

CREATE OR REPLACE FUNCTION @schema@.check_may_depend(depends_on regclass[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other record;
BEGIN
    FOR other IN
        SELECT c.oid::regclass AS relation, c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
               AND c.relnamespace <> 'pg_catalog'::regnamespace AS says_changes,
               pg_has_role(c.relowner, 'USAGE') AS is_ours, pg_get_userbyid(c.relowner) AS owner
        FROM unnest(depends_on) AS o JOIN pg_class AS c ON c.oid = o ORDER BY 1
    LOOP
        IF NOT other.says_changes THEN
            RAISE EXCEPTION 'it cannot depend on %, which does not say what changes in it',
                other.relation USING ERRCODE = 'wrong_object_type',
                HINT = 'Name the tables beneath; capture => ''scan'' depends on none.';
        ELSIF NOT other.is_ours THEN
            -- A trigger may be made by others as well, and be dropped by its table's owner alone.
            RAISE EXCEPTION 'only % may make it depend on %, and you are %', other.owner,
                other.relation, current_user USING ERRCODE = 'insufficient_privilege',
                HINT = 'Leave it out, and the nightly sync finds what changes there; '
                       'capture => ''scan'' needs no triggers at all.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION @schema@.check_may_depend(regclass[]) IS
    'Raises where the changes of these tables cannot lead to a sync.';

CREATE OR REPLACE FUNCTION @schema@.attached_depends_on(attachment integer)
RETURNS SETOF regclass
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Found by their triggers, whatever they are called now; by the names that were given only
    -- before there are any. Of one that is partitioned the partitions have them as well. Anybody
    -- may call a trigger so on a table of their own: it counts where it runs a function of the
    -- source's owner, or is on a table that was named.
    WITH touched AS (
        SELECT DISTINCT coalesce(pg_partition_root(t.tgrelid), t.tgrelid) AS oid
        FROM @schema@.attached_sources AS s
        JOIN pg_class AS c ON c.oid = s.relation
        JOIN pg_trigger AS t ON t.tgname = format('pipeline_source_%s_touchedinsert', s.id)
        JOIN pg_proc AS p ON p.oid = t.tgfoid
            AND p.proname = format('pipeline_source_%s_touched', s.id)
        WHERE s.id = attachment AND (p.proowner = c.relowner OR EXISTS (
            SELECT FROM jsonb_array_elements_text(s.definition -> 'depends_on') AS o
            WHERE to_regclass(o) = t.tgrelid))
    )
    SELECT t.oid::regclass FROM touched AS t
    UNION ALL
    SELECT to_regclass(o) FROM @schema@.attached_sources AS s
    CROSS JOIN jsonb_array_elements_text(s.definition -> 'depends_on') AS o
    WHERE s.id = attachment AND to_regclass(o) IS NOT NULL AND NOT EXISTS (SELECT FROM touched)
$$;
COMMENT ON FUNCTION @schema@.attached_depends_on(integer) IS
    'The other tables whose changes lead to a sync of an attached source, those that are still there.';
