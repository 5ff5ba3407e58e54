-- Source items that wait for a space: no model of today has their modality.

CREATE OR REPLACE VIEW @schema@.unsupported_source_items AS
SELECT i.modality, count(*) AS source_items
FROM @schema@.source_items AS i
WHERE NOT EXISTS (
    SELECT FROM @schema@.embedded_modalities AS m
    JOIN @schema@.embedding_spaces AS s ON s.id = m.space_id
    WHERE m.modality = i.modality AND s.state <> 'retired')
GROUP BY i.modality;

COMMENT ON VIEW @schema@.unsupported_source_items IS
    'How many source items no space in use can embed, per modality.';
COMMENT ON COLUMN @schema@.unsupported_source_items.modality IS
    'The modality that neither the active space has nor one that is building.';
COMMENT ON COLUMN @schema@.unsupported_source_items.source_items IS 'How many there are.';
