"""What a schema consists of, as text: to compare two databases, or one before and after."""

from pipeline.postgres.connections import Connection

# Nobody's own: what extensions bring, and Alembic's table.
_EVERYTHING = """
WITH relations AS (
    SELECT c.* FROM pg_class AS c
    WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
      AND c.relkind IN ('r', 'p', 'v', 'S', 'c') AND c.relname <> 'pipeline_alembic_version'
      AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.objid IN (c.oid, c.reltype) AND d.deptype = 'e')
), routines AS (
    SELECT p.* FROM pg_proc AS p
    WHERE p.pronamespace = quote_ident(current_schema())::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
)
SELECT 'relation ' || relname || ' ' || relkind::text || ' ' || coalesce(reloptions::text, '')
    || ' ' || coalesce(obj_description(oid, 'pg_class'), '')
FROM relations
UNION ALL
SELECT 'rights on ' || relname || ' of ' || g.grantee::regrole::text || ': '
    || string_agg(g.privilege_type, ' ' ORDER BY g.privilege_type)
FROM relations CROSS JOIN aclexplode(relacl) AS g GROUP BY relname, g.grantee
UNION ALL
SELECT 'column ' || r.relname || '.' || a.attname || ' '
    -- Its place among those there are: one that was dropped leaves a gap.
    || row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum) || ' '
    || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text
    || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(a.attacl::text, '')
    -- The tables of spaces were commented when they were made.
    || CASE WHEN r.relname ~ '_s[0-9]+$' THEN '' ELSE coalesce(col_description(r.oid, a.attnum), '')
       END
FROM relations AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
WHERE r.relkind <> 'S'
UNION ALL
SELECT 'constraint ' || c.conrelid::regclass::text || ' ' || c.conname || ' '
    || pg_get_constraintdef(c.oid)
FROM relations AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' '
    || coalesce(obj_description(i.indexrelid, 'pg_class'), '')
FROM relations AS r JOIN pg_index AS i ON i.indrelid = r.oid
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(t.oid)
FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'view ' || relname || ' ' || pg_get_viewdef(oid) FROM relations WHERE relkind = 'v'
UNION ALL
SELECT 'routine ' || pg_get_functiondef(oid) || ' ' || coalesce(obj_description(oid, 'pg_proc'), '')
FROM routines
UNION ALL
SELECT 'rights on ' || oid::regprocedure::text || ' of '
    || CASE g.grantee WHEN 0 THEN 'public' ELSE g.grantee::regrole::text END
FROM routines CROSS JOIN aclexplode(coalesce(proacl, acldefault('f', proowner))) AS g
UNION ALL
SELECT 'type ' || typname || ' ' || coalesce(obj_description(t.oid, 'pg_type'), '')
FROM pg_type AS t JOIN relations AS r ON r.oid = t.typrelid WHERE r.relkind = 'c'
UNION ALL
SELECT 'rights on schema: ' || coalesce(nspacl::text, '') FROM pg_namespace
WHERE oid = quote_ident(current_schema())::regnamespace AND nspacl::text ~ 'pipeline_'
UNION ALL
SELECT 'setting ' || c.entry FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS c (entry)
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND starts_with(c.entry, 'hnsw.')
ORDER BY 1
"""


def everything(connection: Connection) -> list[str]:
    """Tables, views, routines, triggers, types, rights, comments and settings, a text each."""
    return [line for (line,) in connection.execute(_EVERYTHING).fetchall()]
