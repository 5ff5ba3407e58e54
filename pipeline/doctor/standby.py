"""Whether this server is a read replica, and how far it is behind."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.standby import find_standby

# What is searched is so old at most; a standby that is busy may well be seconds behind.
LATE_SECONDS = 60.0


def standby(connection: Connection) -> Iterator[Check]:
    """Nothing on a primary. What the other checks find on a standby is mended on its primary."""
    found = find_standby(connection)
    if found is None:
        return
    if found.is_paused:
        yield Check("standby", False, str(found), "SELECT pg_wal_replay_resume()")
    elif not found.is_receiving:
        fix = "look at primary_conninfo here and at pg_stat_replication on the primary"
        yield Check("standby", False, str(found), fix)
    else:
        ok = (found.seconds or 0) <= LATE_SECONDS
        fix = "" if ok else "SELECT * FROM pg_stat_replication, on the primary"
        yield Check("standby", ok, f"{found}; what mends it is run on its primary", fix)
