"""Whether a probe was embedded as an item or as a query: some models tell the two apart."""

from alembic import op

revision = "pipeline_0017_probe_roles"
down_revision = "pipeline_0016_derived"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE space_probes
            ADD COLUMN role text NOT NULL DEFAULT 'item',
            ADD CONSTRAINT space_probes_role_check CHECK (role IN ('item', 'query'));
        COMMENT ON COLUMN space_probes.role IS
            'Whether it was embedded as an item or as a query.';
        """
    )


def downgrade() -> None:
    # An older release would embed them as items, and refuse the model for it.
    op.execute(
        """
        DELETE FROM space_probes WHERE role <> 'item';
        ALTER TABLE space_probes DROP COLUMN role;
        """
    )
