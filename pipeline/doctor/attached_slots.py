"""Replication slots of attached sources: one that nobody reads keeps the server's WAL for ever."""

from collections.abc import Iterator
from shlex import quote

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, fetch_one

# More than this is no longer what a sync is merely behind.
MUCH = 1 << 30
LIMIT = "10GB"

_SLOTS = """
SELECT coalesce(r.slot_name, attached_slot(a.id)), r.slot_name IS NULL, a.name,
    r.wal_status = 'lost', pg_size_pretty(w.kept), w.kept > %s
FROM (
    SELECT * FROM pg_replication_slots AS r
    WHERE r.slot_name ~ '^pipeline_source_[0-9]+_[0-9]+$' AND r.database = current_database()
) AS r
FULL JOIN (SELECT * FROM attached_sources AS a WHERE a.capture = 'logical') AS a
    ON r.slot_name = attached_slot(a.id)
CROSS JOIN LATERAL (
    SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_lsn() END, r.restart_lsn)) AS w (kept)
ORDER BY 1
"""


def slots(connection: Connection) -> Iterator[Check]:
    """A check for each slot that wants something; none where there is no slot."""
    rows = connection.execute(_SLOTS, (MUCH,)).fetchall()
    for slot, is_missing, name, is_lost, kept, is_much in rows:
        drop = f"SELECT pg_drop_replication_slot('{slot}')"
        if name is None:
            said = f"nothing is attached that would read it; it keeps {kept} of WAL"
            yield Check(f"slot {slot}", False, said, drop)
            continue
        again = f"pipeline sync {quote(name)}"
        if is_missing:
            said = f"{name} follows a slot that is not there"
            yield Check(f"slot {slot}", False, said, again)
        elif is_lost:
            said = f"it fell too far behind, and {name} does not follow it any more"
            yield Check(f"slot {slot}", False, said, f"{drop}; then {again}")
        elif is_much:
            yield Check(f"slot {slot}", False, f"it keeps {kept} of WAL for {name}", again)
    (has_no_limit,) = fetch_one(
        connection.execute("SELECT current_setting('max_slot_wal_keep_size') = '-1'")
    )
    if has_no_limit and rows:
        yield Check(
            "max_slot_wal_keep_size",
            False,
            "a slot that nobody reads may fill the server's disk with WAL",
            f"ALTER SYSTEM SET max_slot_wal_keep_size = '{LIMIT}'; then SELECT pg_reload_conf()",
        )
