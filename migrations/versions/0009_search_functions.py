"""What analysts call: installs every file of sql/functions, and the types they return.

The files hold the current truth, as CREATE OR REPLACE. This migration and every later one that
refreshes them runs all files there are, so a fresh database gets the newest text at once and an
old one gets it with the newest migration. What keeps an old migration from breaking:

* function bodies are not checked while they are installed, so they may name a table that a later
  migration makes;
* the result types are made here and changed by migrations only;
* a function that goes, or changes its arguments, is dropped by a migration (IF EXISTS).

``FUNCTIONS_SHA256`` of the newest such migration covers the files; a test compares them, so a
file cannot be changed after a release without a migration that brings the change to databases.
"""

from alembic import op
from sqlalchemy import text

from pipeline.postgres.migrate import carried

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FUNCTIONS_SHA256 = "e11fbac70435c1185f54c4fde2c36ce5e8a5a9fce312f28536cc80c935fd8dae"

# What a downgrade drops.
NAMES = (
    "ask_for_query_embeddings",
    "blend_embeddings",
    "cached_query_embeddings",
    "classify_items",
    "configure_loopback",
    "embed_queries",
    "embed_query",
    "has_few_matches",
    "hybrid_search",
    "is_served",
    "item_document",
    "item_embedding",
    "loopback_connection",
    "modality_means",
    "near_duplicates",
    "query_embeddings_missing",
    "refresh_space_statistics",
    "search_items",
    "text_embedding",
    "text_embeddings",
    "text_embeddings_by_loopback",
    "touch_query_embeddings",
)

TYPES = """
CREATE TYPE item_match AS (
    rank        integer,
    id          bigint,
    source_id   bigint,
    part        integer,
    modality    text,
    content_ref text,
    metadata    jsonb,
    similarity  real,
    score       real
);
COMMENT ON TYPE item_match IS 'A row of search_items(): an item, and how near it is.';
COMMENT ON COLUMN item_match.rank IS '1 for the best.';
COMMENT ON COLUMN item_match.id IS 'Number of the item.';
COMMENT ON COLUMN item_match.source_id IS 'The source item it came from.';
COMMENT ON COLUMN item_match.part IS 'The best part of the source item: 0, or a window of a text.';
COMMENT ON COLUMN item_match.modality IS 'text or image.';
COMMENT ON COLUMN item_match.content_ref IS 'The text, or the path or URI of the image.';
COMMENT ON COLUMN item_match.metadata IS 'The item''s metadata.';
COMMENT ON COLUMN item_match.similarity IS 'Cosine of item and query.';
COMMENT ON COLUMN item_match.score IS
    'What the rows are ranked by: the similarity, or what the ranking makes of it.';

CREATE TYPE hybrid_match AS (
    rank        integer,
    id          bigint,
    source_id   bigint,
    part        integer,
    modality    text,
    content_ref text,
    metadata    jsonb,
    similarity  real,
    vector_rank integer,
    text_rank   integer,
    score       real
);
COMMENT ON TYPE hybrid_match IS 'A row of hybrid_search(): an item, and its two ranks.';
COMMENT ON COLUMN hybrid_match.rank IS '1 for the best.';
COMMENT ON COLUMN hybrid_match.id IS 'Number of the item.';
COMMENT ON COLUMN hybrid_match.source_id IS 'The source item it came from.';
COMMENT ON COLUMN hybrid_match.part IS 'The best part of the source item.';
COMMENT ON COLUMN hybrid_match.modality IS 'text or image.';
COMMENT ON COLUMN hybrid_match.content_ref IS 'The text, or the path or URI of the image.';
COMMENT ON COLUMN hybrid_match.metadata IS 'The item''s metadata.';
COMMENT ON COLUMN hybrid_match.similarity IS 'Cosine of item and query.';
COMMENT ON COLUMN hybrid_match.vector_rank IS 'Its rank by vector; null: not among the best.';
COMMENT ON COLUMN hybrid_match.text_rank IS 'Its rank by full text; null: no word matches.';
COMMENT ON COLUMN hybrid_match.score IS 'Sum of weight / (60 + rank) over both ranks.';
"""

# dblink comes with PostgreSQL but only a superuser (or a managed service's administrator) may
# create it. Without it text_embedding() says: CALL embed_query('...').
DBLINK = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS dblink;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'dblink is not there (%); text_embedding() reads its cache only', SQLERRM;
END $$
"""


def upgrade() -> None:
    op.execute(DBLINK)
    op.execute(TYPES)
    bind = op.get_bind()
    # The functions are made with SET search_path FROM CURRENT: our schema and the extension's,
    # temporary tables last.
    before = bind.scalar(text("SELECT current_setting('search_path')"))
    path = bind.scalar(
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
    bind.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
    op.execute("SET LOCAL check_function_bodies = off")
    op.execute("SELECT '[1]'::vector")  # loads the library, so that hnsw.* can be set
    for file in sorted((carried("sql") / "functions").glob("*.sql")):
        # psycopg reads a percent sign as a placeholder
        bind.exec_driver_sql(file.read_text(encoding="utf-8").replace("%", "%%"))
    bind.execute(text("SELECT set_config('search_path', :path, true)"), {"path": before})


def downgrade() -> None:
    op.execute(
        text(
            r"""
            DO $$
            DECLARE
                routine regprocedure;
            BEGIN
                FOR routine IN
                    SELECT oid FROM pg_proc
                    WHERE pronamespace = current_schema()::regnamespace
                      AND proname = ANY (string_to_array('{names}', ' '))
                LOOP
                    EXECUTE format('DROP ROUTINE %s', routine);
                END LOOP;
            END $$;
            DROP TYPE item_match, hybrid_match;
            """.replace("{names}", " ".join(NAMES))
        )
    )
    # The extension stays, as pgvector does: others may use it.
