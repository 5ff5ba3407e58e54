"""Modalities that a space embeds by the encoder of another one: films by frames, say."""

from alembic import op

revision = "pipeline_0016_derived"
down_revision = "pipeline_0015_paused"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE known_modalities
            ADD COLUMN derived_from text,
            ADD CONSTRAINT known_modalities_derived_from_fkey
                FOREIGN KEY (derived_from) REFERENCES known_modalities (name),
            ADD CONSTRAINT known_modalities_derived_from_other
                CHECK (derived_from <> name);
        COMMENT ON COLUMN known_modalities.derived_from IS
            'The modality whose encoder embeds its parts in a space that has none for it; null: '
            'such a space leaves it alone.';
        UPDATE known_modalities SET derived_from = 'image' WHERE name IN ('video', 'document');
        """
    )


def downgrade() -> None:
    # Whoever has an encoder of its own for a modality has probes of it. An older release would not
    # open a space with items of the others.
    op.execute(
        r"""
        DO $$
        DECLARE
            derived record;
            items   regclass;
        BEGIN
            FOR derived IN
                SELECT m.space_id, m.modality FROM space_modalities AS m
                JOIN known_modalities AS k ON k.name = m.modality
                JOIN space_modalities AS o
                    ON o.space_id = m.space_id AND o.modality = k.derived_from
                WHERE NOT EXISTS (SELECT FROM space_probes AS p
                    WHERE p.space_id = m.space_id AND p.modality = m.modality)
                ORDER BY m.space_id, m.modality
            LOOP
                items := to_regclass(format('%I',
                    format('multimodal_items_%s_s%s', derived.modality, derived.space_id)));
                IF (SELECT c.relispartition FROM pg_class AS c WHERE c.oid = items) THEN
                    EXECUTE format('ALTER TABLE multimodal_items DETACH PARTITION %s', items);
                END IF;
                EXECUTE format('DROP TABLE %s', items);
                DELETE FROM space_modalities AS m
                WHERE m.space_id = derived.space_id AND m.modality = derived.modality;
            END LOOP;
            DELETE FROM ingest_jobs AS j USING source_items AS s
            WHERE s.id = j.source_id AND NOT EXISTS (
                SELECT FROM space_modalities AS m
                WHERE m.space_id = j.space_id AND m.modality = s.modality);
        END $$;
        ALTER TABLE known_modalities DROP COLUMN derived_from;
        """
    )
