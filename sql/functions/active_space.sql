-- One space throughout. Which one is active is a row, so a transaction of one snapshot goes on
-- seeing the one that was; the partitions are in the catalogue, which shows what is there now.

CREATE OR REPLACE FUNCTION @schema@.check_snapshot() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In READ COMMITTED a statement's snapshot is newer than its locks; only what is asked while
    -- it is planned may see the space before, and that is but an estimate.
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
       AND EXISTS (
        SELECT FROM @schema@.embedding_spaces AS s
        JOIN @schema@.space_modalities AS m ON m.space_id = s.id
        WHERE s.state = 'active'
          -- Both functions ask the catalogue's caches, not the snapshot.
          AND pg_partition_root(@schema@.items_table(s.id, m.modality)) IS NULL
    ) THEN
        RAISE EXCEPTION 'another embedding space was activated since this transaction began' USING
            ERRCODE = 'serialization_failure',
            HINT = 'Begin the transaction anew.';
    END IF;
END $$;
COMMENT ON FUNCTION @schema@.check_snapshot() IS
    'Raises serialization_failure where the transaction sees an active space whose items are not '
    'the partitions any more.';
