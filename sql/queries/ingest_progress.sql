-- question:   How far is the ingestion, and what failed?
-- parameters: none
-- index:      none: the queue is small

SELECT s.space, s.modality, s.items, s.pending, s.running, s.failed, s.per_minute,
       (SELECT string_agg(DISTINCT f.error_code, ', ') FROM ingest_failures AS f
        WHERE f.space = s.space AND f.modality = s.modality) AS error_codes
FROM ingest_status AS s
ORDER BY s.space, s.modality;
