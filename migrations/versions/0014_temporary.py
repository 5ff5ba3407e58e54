"""Temporary."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
    CREATE TABLE known_modalities (name text PRIMARY KEY, media text NOT NULL, inline boolean NOT NULL, description text NOT NULL);
    INSERT INTO known_modalities VALUES ('text','text',true,'x'),('image','image',false,'x'),('audio','audio',false,'x'),('video','video',false,'x'),('document','application',false,'x'),('depth','image',false,'x'),('thermal','image',false,'x'),('imu','application',false,'x');
    ALTER TABLE source_items DROP CONSTRAINT source_items_modality_known;
    ALTER TABLE multimodal_items DROP CONSTRAINT multimodal_items_modality_known;
    """)


def downgrade() -> None:
    op.execute("DROP TABLE known_modalities")
