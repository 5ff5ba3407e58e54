-- The tables of every space have names known at run time only: here they are made, for SQL, and in
-- Space.table_name (pipeline/spaces/space.py) for Python.

CREATE OR REPLACE FUNCTION @schema@.items_table(space integer, modality text) RETURNS regclass
LANGUAGE sql STABLE
RETURN to_regclass(format('@schema@.%I', format('multimodal_items_%s_s%s', modality, space)));
COMMENT ON FUNCTION @schema@.items_table(integer, text) IS
    'The table of one modality in one space, attached or not; null: there is none.';
