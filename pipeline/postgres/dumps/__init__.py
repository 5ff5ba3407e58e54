"""Whole databases into files and back, by PostgreSQL's own pg_dump and pg_restore."""
