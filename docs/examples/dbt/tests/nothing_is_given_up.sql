-- Source items that failed for good; `pipeline failures` says what to do about each.
{{ config(severity='warn') }}
SELECT source, source_key, error_code, error
FROM {{ source('pipeline', 'ingest_failures') }}
WHERE state = 'failed'
