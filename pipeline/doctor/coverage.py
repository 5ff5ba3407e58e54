"""Whether every source item has its items."""

from collections.abc import Iterator

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.queue import status
from pipeline.spaces import Space


def coverage(connection: Connection, space: Space) -> Iterator[Check]:
    found = spaces.coverage(connection, space)
    counts = status.counts(connection, space.id)
    if found.lost:
        fix = f"pipeline space build {space.name}"
    elif found.pending:
        fix = "pipeline ingest --once"
    elif counts.failed:
        fix = "pipeline failures, then pipeline retry"
    else:
        fix = ""
    failed = f", {counts.failed} failed" if counts.failed else ""
    yield Check("coverage", not fix, f"{found}{failed}", fix)
