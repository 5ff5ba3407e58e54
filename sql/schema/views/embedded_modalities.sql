-- Which modalities each space embeds: those that it has items tables for, and those that it derives,
-- whose table is made when the first of them is embedded (derived_items.sql).

CREATE OR REPLACE VIEW @schema@.embedded_modalities AS
SELECT m.space_id, m.modality, true AS has_table FROM @schema@.space_modalities AS m
UNION ALL
SELECT m.space_id, k.name, false FROM @schema@.known_modalities AS k
JOIN @schema@.space_modalities AS m ON m.modality = k.derived_from
WHERE NOT EXISTS (
    SELECT FROM @schema@.space_modalities AS own
    WHERE own.space_id = m.space_id AND own.modality = k.name);

COMMENT ON VIEW @schema@.embedded_modalities IS
    'The modalities that each space embeds, by an encoder of their own or that of another one.';
COMMENT ON COLUMN @schema@.embedded_modalities.space_id IS 'The space.';
COMMENT ON COLUMN @schema@.embedded_modalities.modality IS 'One of known_modalities.';
COMMENT ON COLUMN @schema@.embedded_modalities.has_table IS
    'Whether it has a table for its items; one that it derives gets it with the first item.';
