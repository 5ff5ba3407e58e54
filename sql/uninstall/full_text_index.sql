-- It hangs on a function that goes.

DROP INDEX IF EXISTS @schema@.source_items_document;
