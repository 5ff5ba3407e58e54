-- question:   How large are the indexes, and can they be used?
-- parameters: none
-- index:      none: catalogues

SELECT space, state, modality, items, pg_size_pretty(table_bytes) AS table_size,
       pg_size_pretty(index_bytes) AS index_size, index_is_valid, ef_search, recall
FROM space_status
ORDER BY space, modality;
