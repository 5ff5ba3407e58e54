"""Statement-level triggers on source_items keep the queue and the items.

One call per statement, however many rows it loads. The order of locks is always source row, job,
item, and keys ascending, as in the worker's finish, so that the two cannot deadlock.

The functions run with their owner's rights: whoever may write source_items needs no right on the
queue or on the items.
"""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FUNCTIONS = r"""
CREATE FUNCTION enqueue_source_items(ids bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = {path} AS $$
    WITH enqueued AS (
        INSERT INTO ingest_jobs AS j (space_id, source_id)
        SELECT s.id, i.id
        FROM unnest(ids) AS i (id) CROSS JOIN embedding_spaces AS s
        ORDER BY s.id, i.id
        ON CONFLICT (space_id, source_id) DO UPDATE SET
            version = nextval('ingest_job_versions'), state = 'pending', attempts = 0,
            run_after = now(), leased_until = NULL, worker = NULL,
            error_code = NULL, error = NULL
        RETURNING 1
    )
    SELECT count(*) FROM enqueued
$$;
COMMENT ON FUNCTION enqueue_source_items(bigint[]) IS
    'Creates or re-opens the jobs of these source items in every space; returns how many.';
REVOKE EXECUTE ON FUNCTION enqueue_source_items(bigint[]) FROM PUBLIC;

CREATE FUNCTION source_items_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path} AS $$
BEGIN
    INSERT INTO ingest_jobs (space_id, source_id)
    SELECT s.id, n.id FROM embedding_spaces AS s CROSS JOIN new_rows AS n;
    IF FOUND THEN
        NOTIFY ingest_jobs;  -- wakes workers that wait; polling is the truth
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION source_items_inserted() IS 'Creates the jobs of new source items.';

CREATE FUNCTION source_items_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path} AS $$
DECLARE
    changed bigint[];
BEGIN
    SELECT array_agg(n.id ORDER BY n.id) INTO changed
    FROM new_rows AS n LEFT JOIN old_rows AS o USING (id)
    WHERE (n.modality, n.content_ref, n.metadata)
        IS DISTINCT FROM (o.modality, o.content_ref, o.metadata);
    IF changed IS NOT NULL AND enqueue_source_items(changed) > 0 THEN
        NOTIFY ingest_jobs;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION source_items_updated() IS
    'Re-opens the jobs of source items whose content or metadata changed.';

CREATE FUNCTION source_items_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path} AS $$
DECLARE
    gone bigint[];
    items regclass;
BEGIN
    SELECT array_agg(id ORDER BY id) INTO gone FROM old_rows;
    IF gone IS NULL THEN
        RETURN NULL;
    END IF;
    -- Jobs first: a worker that is writing holds the job; once it is through, its items are seen
    -- by the statements below, and if it comes later it finds no job and writes nothing.
    DELETE FROM ingest_jobs USING (
        SELECT j.space_id, j.source_id FROM ingest_jobs AS j
        WHERE j.source_id = ANY (gone) AND j.space_id IN (SELECT id FROM embedding_spaces)
        ORDER BY j.space_id, j.source_id FOR UPDATE
    ) AS held
    WHERE ingest_jobs.space_id = held.space_id AND ingest_jobs.source_id = held.source_id;
    FOR items IN
        SELECT to_regclass(format('multimodal_items_%s_s%s', m.modality, m.space_id))
        FROM space_modalities AS m ORDER BY m.space_id, m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('DELETE FROM %s WHERE source_id = ANY ($1)', items) USING gone;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION source_items_deleted() IS
    'Removes the jobs and the items of deleted source items, in every space.';

CREATE FUNCTION source_items_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path} AS $$
DECLARE
    items regclass;
BEGIN
    TRUNCATE ingest_jobs;
    FOR items IN
        SELECT to_regclass(format('multimodal_items_%s_s%s', m.modality, m.space_id))
        FROM space_modalities AS m ORDER BY m.space_id, m.modality
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('TRUNCATE %s', items);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION source_items_truncated() IS
    'Removes every job and item when source_items is truncated.';
"""

TRIGGERS = """
CREATE TRIGGER source_items_inserted AFTER INSERT ON source_items
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION source_items_inserted();
CREATE TRIGGER source_items_updated AFTER UPDATE ON source_items
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION source_items_updated();
CREATE TRIGGER source_items_deleted AFTER DELETE ON source_items
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION source_items_deleted();
CREATE TRIGGER source_items_truncated AFTER TRUNCATE ON source_items
    FOR EACH STATEMENT EXECUTE FUNCTION source_items_truncated();
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
    op.execute(FUNCTIONS.replace("{path}", path))
    op.execute(TRIGGERS)


def downgrade() -> None:
    op.execute(
        """
        DROP TRIGGER source_items_inserted ON source_items;
        DROP TRIGGER source_items_updated ON source_items;
        DROP TRIGGER source_items_deleted ON source_items;
        DROP TRIGGER source_items_truncated ON source_items;
        DROP FUNCTION source_items_inserted(), source_items_updated(), source_items_deleted(),
            source_items_truncated(), enqueue_source_items(bigint[]);
        """
    )
