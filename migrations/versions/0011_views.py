"""Views for people and BI tools. None of them reads the vector column, which would stand in the
way of activating a space of other dimensions."""

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# The tables of every space, attached or not, have names known at run time only.
SPACE_ITEMS = r"""
CREATE FUNCTION space_items(
    OUT space_id integer, OUT modality text, OUT items bigint, OUT per_minute real,
    OUT table_bytes bigint, OUT index_bytes bigint, OUT index_is_valid boolean
)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {path} AS $$
DECLARE
    known  record;
    recent record;
BEGIN
    FOR known IN
        SELECT m.space_id, m.modality, c.oid, c.reltuples, i.indexrelid, i.indisvalid
        FROM space_modalities AS m
        JOIN pg_class AS c
            ON c.oid = to_regclass(format('multimodal_items_%s_s%s', m.modality, m.space_id))
        LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indexrelid = to_regclass(
            format('multimodal_items_%s_s%s_embedding', m.modality, m.space_id))
        ORDER BY m.space_id, m.modality
    LOOP
        space_id := known.space_id;
        modality := known.modality;
        IF known.reltuples > 1000000 THEN
            items := known.reltuples;  -- as of the last ANALYZE: counting takes seconds
        ELSE
            EXECUTE format('SELECT count(*) FROM %s', known.oid::regclass) INTO items;
        END IF;
        -- Numbers rise with time, so the newest items are read backwards until one is too old.
        per_minute := 0;
        FOR recent IN EXECUTE
            format('SELECT embedded_at FROM %s ORDER BY id DESC', known.oid::regclass)
        LOOP
            EXIT WHEN recent.embedded_at < now() - interval '15 minutes';
            per_minute := per_minute + 1;
        END LOOP;
        per_minute := per_minute / 15;
        table_bytes := pg_table_size(known.oid);
        index_bytes := pg_relation_size(known.indexrelid);
        index_is_valid := known.indisvalid;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION space_items() IS
    'Per space and modality: items, new items per minute over the last quarter hour, sizes.';
"""

VIEWS = r"""
CREATE VIEW ingest_status AS
SELECT s.name AS space, s.state, i.modality, i.items,
       coalesce(j.pending, 0) AS pending, coalesce(j.running, 0) AS running,
       coalesce(j.failed, 0) AS failed, j.oldest_pending, i.per_minute
FROM embedding_spaces AS s
JOIN space_items() AS i ON i.space_id = s.id
LEFT JOIN (
    SELECT jobs.space_id, source.modality,
           count(*) FILTER (WHERE jobs.state = 'pending') AS pending,
           count(*) FILTER (WHERE jobs.state = 'running') AS running,
           count(*) FILTER (WHERE jobs.state = 'failed') AS failed,
           now() - min(source.updated_at) FILTER (WHERE jobs.state = 'pending')
               AS oldest_pending
    FROM ingest_jobs AS jobs JOIN source_items AS source ON source.id = jobs.source_id
    GROUP BY jobs.space_id, source.modality
) AS j ON j.space_id = s.id AND j.modality = i.modality;
COMMENT ON VIEW ingest_status IS 'How far the ingestion is, per space and modality.';
COMMENT ON COLUMN ingest_status.space IS 'The space''s name.';
COMMENT ON COLUMN ingest_status.state IS 'building, active or retired.';
COMMENT ON COLUMN ingest_status.modality IS 'text or image.';
COMMENT ON COLUMN ingest_status.items IS
    'Items there are; above a million as of the last ANALYZE.';
COMMENT ON COLUMN ingest_status.pending IS 'Jobs that wait.';
COMMENT ON COLUMN ingest_status.running IS 'Jobs that a worker holds.';
COMMENT ON COLUMN ingest_status.failed IS 'Jobs given up; see ingest_failures.';
COMMENT ON COLUMN ingest_status.oldest_pending IS
    'How long ago the source item changed whose job waits longest.';
COMMENT ON COLUMN ingest_status.per_minute IS
    'New items per minute over the last quarter hour.';

CREATE VIEW ingest_failures AS
SELECT s.name AS space, j.source_id, i.source, i.source_key, i.modality, j.error_code, j.error,
       j.attempts, j.state, i.content_ref
FROM ingest_jobs AS j
JOIN embedding_spaces AS s ON s.id = j.space_id
JOIN source_items AS i ON i.id = j.source_id
WHERE j.error_code IS NOT NULL;
COMMENT ON VIEW ingest_failures IS
    'Source items whose last attempt failed: given up (failed) or to be tried again (pending).';
COMMENT ON COLUMN ingest_failures.space IS 'The space''s name.';
COMMENT ON COLUMN ingest_failures.source_id IS 'Number of the source item.';
COMMENT ON COLUMN ingest_failures.source IS 'Where it comes from.';
COMMENT ON COLUMN ingest_failures.source_key IS 'Its key there.';
COMMENT ON COLUMN ingest_failures.modality IS 'text or image.';
COMMENT ON COLUMN ingest_failures.error_code IS 'Short code; docs/errors.md explains each.';
COMMENT ON COLUMN ingest_failures.error IS 'What happened and what to do.';
COMMENT ON COLUMN ingest_failures.attempts IS 'How often it was tried.';
COMMENT ON COLUMN ingest_failures.state IS 'failed: given up; pending: will be tried again.';
COMMENT ON COLUMN ingest_failures.content_ref IS
    'The text, or the path or URI of the picture.';

CREATE VIEW item_catalog WITH (security_invoker = true) AS
SELECT i.id, i.source_id, s.source, s.source_key, i.part, i.modality,
       coalesce(i.metadata ->> 'title', i.metadata ->> 'caption', left(i.content_ref, 80))
           AS title,
       CASE WHEN i.modality = 'text' THEN i.content_ref END AS text,
       CASE WHEN i.modality = 'image' AND i.content_ref ~ '^(https?://|data:image/)'
            THEN i.content_ref END AS picture,
       i.content_ref, i.metadata, i.embedded_at
FROM multimodal_items AS i
LEFT JOIN source_items AS s ON s.id = i.source_id;
COMMENT ON VIEW item_catalog IS
    'The items without their vectors, for BI tools; runs with the reader''s rights.';
COMMENT ON COLUMN item_catalog.id IS 'Number of the item.';
COMMENT ON COLUMN item_catalog.source_id IS 'The source item it came from.';
COMMENT ON COLUMN item_catalog.source IS 'Where the source item comes from.';
COMMENT ON COLUMN item_catalog.source_key IS 'Its key there.';
COMMENT ON COLUMN item_catalog.part IS '0, or the number of the text''s window.';
COMMENT ON COLUMN item_catalog.modality IS 'text or image.';
COMMENT ON COLUMN item_catalog.title IS
    'Title or caption from the metadata, else the beginning of the reference.';
COMMENT ON COLUMN item_catalog.text IS 'The text; null for a picture.';
COMMENT ON COLUMN item_catalog.picture IS
    'An address that a BI tool can show as a picture; null for texts and for files on disk.';
COMMENT ON COLUMN item_catalog.content_ref IS 'The text, or the path or URI of the picture.';
COMMENT ON COLUMN item_catalog.metadata IS 'The item''s metadata.';
COMMENT ON COLUMN item_catalog.embedded_at IS 'When the vector was written.';

CREATE VIEW space_status AS
SELECT s.name AS space, s.state, s.model, s.dimensions, s.vector_type, s.precision,
       i.modality, i.items, i.table_bytes, i.index_bytes, i.index_is_valid,
       coalesce(m.ef_search, s.ef_search) AS ef_search, m.recall, m.measured_at,
       CASE WHEN s.state = 'active' THEN is_served(s.id) END AS is_served
FROM embedding_spaces AS s
JOIN space_items() AS i ON i.space_id = s.id
JOIN space_modalities AS m ON m.space_id = s.id AND m.modality = i.modality;
COMMENT ON VIEW space_status IS 'The embedding spaces with their tables and indexes.';
COMMENT ON COLUMN space_status.space IS 'The space''s name.';
COMMENT ON COLUMN space_status.state IS 'building, active or retired.';
COMMENT ON COLUMN space_status.model IS 'The model, such as ViT-B-32/openai.';
COMMENT ON COLUMN space_status.dimensions IS 'Dimensions of its vectors.';
COMMENT ON COLUMN space_status.vector_type IS 'halfvec or vector.';
COMMENT ON COLUMN space_status.precision IS 'Precision of the model''s weights.';
COMMENT ON COLUMN space_status.modality IS 'text or image.';
COMMENT ON COLUMN space_status.items IS 'Items there are.';
COMMENT ON COLUMN space_status.table_bytes IS 'Size of the table with its TOAST.';
COMMENT ON COLUMN space_status.index_bytes IS 'Size of the HNSW index; null: not built yet.';
COMMENT ON COLUMN space_status.index_is_valid IS 'Whether the HNSW index can be used.';
COMMENT ON COLUMN space_status.ef_search IS 'HNSW''s ef_search that searches use at least.';
COMMENT ON COLUMN space_status.recall IS 'Last measured recall@10 of the index.';
COMMENT ON COLUMN space_status.measured_at IS 'When the statistics were taken.';
COMMENT ON COLUMN space_status.is_served IS
    'Whether `pipeline serve` embeds new query texts now; null: not the active space.';
"""


def upgrade() -> None:
    # A fixed search path: our schema and the extension's, with temporary tables last.
    path = op.get_bind().scalar(
        text(
            """
            SELECT concat_ws(', ', quote_ident(current_schema()), (
                SELECT quote_ident(n.nspname)
                FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
                WHERE e.extname = 'vector' AND n.nspname <> current_schema()
            ), 'pg_temp')
            """
        )
    )
    op.execute(SPACE_ITEMS.replace("{path}", path))
    op.execute(VIEWS)
    op.execute("REVOKE EXECUTE ON FUNCTION space_items() FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP VIEW space_status, item_catalog, ingest_failures, ingest_status")
    op.execute("DROP FUNCTION space_items()")
