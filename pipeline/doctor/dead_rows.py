"""Dead rows, which searches walk over until a vacuum."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space

# So many slow every search down.
DEAD = 0.2


def dead_rows(connection: Connection, space: Space) -> Iterator[Check]:
    names = [space.table_name(modality) for modality in space.modalities] + ["ingest_jobs"]
    rows = connection.execute(
        "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relid = ANY "
        "(SELECT to_regclass(n) FROM unnest(%s::text[]) AS n) ORDER BY relname",
        (names,),
    ).fetchall()
    for name, dead, live in rows:
        # The queue's rows live for seconds; what a run leaves behind goes with the next
        # autovacuum, within a minute. Only what it does not keep up with is a finding.
        bad = dead > (100_000 if name == "ingest_jobs" else 1000) and dead > DEAD * live
        shown = f"{dead} of {dead + live} rows"
        yield Check(f"dead rows {name}", not bad, shown, f"VACUUM {name}" if bad else "")
