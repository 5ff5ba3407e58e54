-- A compact index is over the leading coordinates of vectors that the space's rotation turns: those
-- in which most of their length lies. What they find is ranked by the whole vectors.

CREATE OR REPLACE FUNCTION @schema@.compact_embedding(
    embedding @vector@.halfvec, space integer, width integer)
RETURNS @vector@.halfvec
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- <#> is the inner product times -1. No rotation, no vector: an error.
    RETURN ARRAY(
        SELECT -(r.direction OPERATOR(@vector@.<#>) embedding)
        FROM @schema@.space_rotations AS r
        WHERE r.space_id = space AND r.axis <= width ORDER BY r.axis
    )::real[]::@vector@.halfvec;
END $$;
COMMENT ON FUNCTION @schema@.compact_embedding(@vector@.halfvec, integer, integer) IS
    'So many leading coordinates of a vector of the space, by which its compact index orders.';

CREATE OR REPLACE FUNCTION @schema@.compact_embedding(embedding @vector@.halfvec)
RETURNS @vector@.halfvec
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    active record;
BEGIN
    SELECT s.id, s.compact_dimensions INTO active
    FROM @schema@.embedding_spaces AS s WHERE s.state = 'active';
    IF active.compact_dimensions IS NULL THEN
        RAISE EXCEPTION 'the active space has no compact index' USING
            ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Order by embedding <=> ..., which its index serves.';
    END IF;
    RETURN @schema@.compact_embedding(embedding, active.id, active.compact_dimensions);
END $$;
COMMENT ON FUNCTION @schema@.compact_embedding(@vector@.halfvec) IS
    'The leading coordinates of a vector by which the active space''s compact index orders: '
    'ORDER BY subvector(compact, 1, 64)::halfvec(64) <=> (SELECT compact_embedding(...)) LIMIT 400, '
    'then by embedding; see docs/scaling.md.';

CREATE OR REPLACE FUNCTION @schema@.multimodal_items_compact() RETURNS trigger
-- With the owner's rights: whoever may write items need not be able to read rotations.
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM @schema@.items_table(NEW.space_id, NEW.modality) THEN
        -- That of another space, which the table's CHECK refuses, or no table of ours.
        RAISE EXCEPTION '% does not hold items of the modality % in the space %',
            TG_RELID::regclass, quote_nullable(NEW.modality), quote_nullable(NEW.space_id)
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.compact := @schema@.compact_embedding(NEW.embedding::@vector@.halfvec, NEW.space_id,
        (SELECT s.compact_width FROM @schema@.embedding_spaces AS s WHERE s.id = NEW.space_id));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION @schema@.multimodal_items_compact() IS
    'Keeps the leading coordinates of every item of a space that has a rotation.';
