-- The tables of every space have names known at run time only: here they are made, for SQL, and in
-- Space.table_name (pipeline/spaces/space.py) for Python.

CREATE OR REPLACE FUNCTION @schema@.items_table(space integer, modality text) RETURNS regclass
LANGUAGE sql STABLE
-- A table, and of somebody who may act as the parent's owner: what others made by that name would run
-- what they want.
RETURN (
    SELECT c.oid::regclass FROM pg_class AS c
    WHERE c.oid = to_regclass(format('@schema@.%I', format('multimodal_items_%s_s%s', modality, space)))
      AND c.relkind = 'r' AND pg_has_role(c.relowner, (
          SELECT p.relowner FROM pg_class AS p
          WHERE p.oid = '@schema@.multimodal_items'::regclass), 'MEMBER')
);
COMMENT ON FUNCTION @schema@.items_table(integer, text) IS
    'The table of one modality in one space, attached or not; null: there is none.';
