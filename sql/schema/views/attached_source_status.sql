-- What is attached, and whether its items follow.

CREATE OR REPLACE VIEW @schema@.attached_source_status AS
SELECT
    a.name,
    coalesce(a.relation::text, a.location) AS of,
    a.capture,
    t.rows,
    i.source_items,
    j.pending,
    j.failed,
    a.synced_at,
    p.problem IS NOT NULL AS needs_sync,
    p.problem
FROM @schema@.attached_sources AS a
CROSS JOIN LATERAL (
    SELECT sum(c.reltuples) FILTER (WHERE c.reltuples >= 0)::bigint AS rows FROM pg_class AS c
    WHERE c.oid = a.relation OR c.oid IN (SELECT p.relid FROM pg_partition_tree(a.relation) AS p
                                          WHERE p.isleaf)
) AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS source_items FROM @schema@.source_items AS i WHERE i.source = ANY (a.sources)
) AS i
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE j.state IN ('pending', 'running')) AS pending,
        count(*) FILTER (WHERE j.state = 'failed') AS failed
    FROM @schema@.ingest_jobs AS j
    JOIN @schema@.embedding_spaces AS e ON e.id = j.space_id AND e.state = 'active'
    JOIN @schema@.source_items AS i ON i.id = j.source_id
    WHERE i.source = ANY (a.sources)
) AS j
CROSS JOIN LATERAL (
    SELECT coalesce(CASE WHEN a.relation IS NOT NULL AND c.oid IS NULL THEN 'its table is gone' END,
        (SELECT p.problem FROM @schema@.attached_source_problems AS p
         WHERE p.attachment_id = a.id ORDER BY p.id DESC LIMIT 1),
        @schema@.attached_triggers_problem(a.id),
        CASE WHEN NOT (has_table_privilege(c.relowner, '@schema@.source_items', 'INSERT')
                AND has_table_privilege(c.relowner, '@schema@.source_items', 'UPDATE')
                AND has_table_privilege(c.relowner, '@schema@.source_items', 'DELETE'))
            THEN format('%s, its owner, may not write source items any more',
                c.relowner::regrole) END,
        (SELECT s.problem FROM @schema@.attached_standing(a.id) AS s LIMIT 1)) AS problem
    FROM (SELECT) AS one LEFT JOIN pg_class AS c ON c.oid = a.relation
) AS p;
COMMENT ON VIEW @schema@.attached_source_status IS
    'One row per attached source: about how many rows it has, its source items, how many of them '
    'wait or failed, and why it needs a sync.';
COMMENT ON COLUMN @schema@.attached_source_status.name IS 'Its name.';
COMMENT ON COLUMN @schema@.attached_source_status.of IS 'The table or view, the folder or prefix.';
COMMENT ON COLUMN @schema@.attached_source_status.capture IS
    'How changes are noticed: statement, row, logical or scan.';
COMMENT ON COLUMN @schema@.attached_source_status.rows IS
    'About how many rows it has, by PostgreSQL''s statistics.';
COMMENT ON COLUMN @schema@.attached_source_status.source_items IS 'Source items made of it.';
COMMENT ON COLUMN @schema@.attached_source_status.pending IS
    'Of them those that wait for the active space, or are in work.';
COMMENT ON COLUMN @schema@.attached_source_status.failed IS 'Those given up; see ingest_failures.';
COMMENT ON COLUMN @schema@.attached_source_status.synced_at IS
    'When all of it was compared last.';
COMMENT ON COLUMN @schema@.attached_source_status.needs_sync IS 'Whether it may not follow.';
COMMENT ON COLUMN @schema@.attached_source_status.problem IS 'Why.';
