"""Three roles without login, to be granted to those who log in.

* ``pipeline_analyst`` searches and reads; writes nothing.
* ``pipeline_ingest`` fills: source items, the queue, the items of every space; changes no table.
* ``pipeline_owner`` may do all of that and take statistics; tables are changed by the role that
  runs the migrations and owns them.

Roles belong to the whole server, not to one database: they are made if they are not there, and a
downgrade takes their rights back and drops them only where nothing else uses them. Not made at
all with ``PIPELINE_ROLES=off``, nor where the migrating role may not create roles.
"""

import logging
import os

from alembic import op
from sqlalchemy import text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

logger = logging.getLogger(__name__)

ROLES = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")

CREATE = """
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server has it
END $$;
"""

GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT SELECT ON multimodal_items, source_items, embedding_spaces, space_modalities,
    space_tunings, space_evaluations, ingest_status, ingest_failures, item_catalog, space_status
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;
GRANT EXECUTE ON FUNCTION text_embedding(text, interval), text_embeddings(text[], interval),
    ask_for_query_embeddings(text[]), query_embeddings_missing(text[]),
    cached_query_embeddings(text[]), space_items()
    TO pipeline_analyst, pipeline_ingest, pipeline_owner;

GRANT INSERT, UPDATE, DELETE ON source_items, multimodal_items, ingest_jobs, query_embeddings
    TO pipeline_ingest, pipeline_owner;
GRANT SELECT ON ingest_jobs, query_embeddings, space_probes TO pipeline_ingest, pipeline_owner;
GRANT UPDATE (item_count, mean, recall, ef_search, measured_at) ON space_modalities
    TO pipeline_ingest, pipeline_owner;
GRANT USAGE, SELECT ON SEQUENCE multimodal_items_id_seq, ingest_job_versions
    TO pipeline_ingest, pipeline_owner;
GRANT EXECUTE ON FUNCTION enqueue_source_items(bigint[]) TO pipeline_ingest, pipeline_owner;

GRANT INSERT, UPDATE, DELETE ON embedding_spaces, space_modalities, space_probes,
    space_tunings, space_evaluations
    TO pipeline_owner;
"""

# The worker writes a space's tables directly, and they are made long after this. Not for analysts:
# they read through multimodal_items, where row-level security is.
TRIGGER = """
CREATE FUNCTION grant_items_table() RETURNS trigger
LANGUAGE plpgsql SET search_path = {path} AS $$
DECLARE
    items regclass := to_regclass(format('multimodal_items_%s_s%s', NEW.modality, NEW.space_id));
    role  name;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('pipeline_ingest', 'pipeline_owner')
    LOOP
        IF items IS NOT NULL THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', items, role);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION grant_items_table() IS
    'Lets pipeline_ingest and pipeline_owner write the tables of a new space.';
CREATE TRIGGER space_modalities_grant AFTER INSERT ON space_modalities
    FOR EACH ROW EXECUTE FUNCTION grant_items_table();
"""


def wanted() -> bool:
    """Whether roles are to be made, and may be."""
    if os.environ.get("PIPELINE_ROLES", "on").lower() in {"off", "no", "false", "0"}:
        return False
    bind = op.get_bind()
    there = bind.scalar(
        text("SELECT count(*) FROM pg_roles WHERE rolname = ANY (:roles)"), {"roles": list(ROLES)}
    )
    if there == len(ROLES):
        return True
    allowed = bind.scalar(
        text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    )
    if not allowed:
        logger.warning(
            "the migrating role may not create roles, so there are none; see docs/security.md"
        )
    return bool(allowed)


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
    op.execute(TRIGGER.replace("{path}", path))
    if not wanted():
        return
    bind = op.get_bind()
    for role in ROLES:
        op.execute(CREATE.replace("{role}", role))
    schema = bind.scalar(text("SELECT quote_ident(current_schema())"))
    op.execute(GRANTS.replace("{schema}", schema))
    op.execute(
        """
        DO $$
        DECLARE
            items record;
        BEGIN
            FOR items IN
                SELECT to_regclass(format('multimodal_items_%s_s%s', modality, space_id)) AS name
                FROM space_modalities
            LOOP
                EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s '
                               'TO pipeline_ingest, pipeline_owner', items.name);
            END LOOP;
        END $$
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER space_modalities_grant ON space_modalities")
    op.execute("DROP FUNCTION grant_items_table()")
    op.execute(
        """
        DO $$
        DECLARE
            role name;
        BEGIN
            FOR role IN
                SELECT rolname FROM pg_roles
                WHERE rolname IN ('pipeline_analyst', 'pipeline_ingest', 'pipeline_owner')
            LOOP
                EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I',
                               current_schema(), role);
                EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I',
                               current_schema(), role);
                EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM %I',
                               current_schema(), role);
                EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), role);
                BEGIN
                    EXECUTE format('DROP ROLE %I', role);
                EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
                    NULL;  -- another database uses it, or it is not ours
                END;
            END LOOP;
        END $$
        """
    )
