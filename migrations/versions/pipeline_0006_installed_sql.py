"""What `migrate` has installed of the files of sql/, which belong to no migration.

See pipeline/postgres/schema.py.
"""

from alembic import op

revision = "pipeline_0006_installed_sql"
down_revision = "pipeline_0005_query_embeddings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE installed_sql (
            sha256       text NOT NULL,
            version      text NOT NULL,
            roles        boolean NOT NULL,
            objects      text[] NOT NULL,
            grants       text[] NOT NULL,
            installed_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT installed_sql_pkey PRIMARY KEY (sha256)
        );
        COMMENT ON TABLE installed_sql IS
            'One row: which functions, triggers and views the last migrate installed.';
        COMMENT ON COLUMN installed_sql.sha256 IS 'SHA-256 of their text.';
        COMMENT ON COLUMN installed_sql.version IS 'Version of the package they came with.';
        COMMENT ON COLUMN installed_sql.roles IS 'Whether the roles pipeline_* are among it.';
        COMMENT ON COLUMN installed_sql.objects IS
            'What was made, with its kind; what a later release lacks goes.';
        COMMENT ON COLUMN installed_sql.grants IS
            'What the roles were given; it is not given again.';
        COMMENT ON COLUMN installed_sql.installed_at IS 'When.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE installed_sql")
