"""Whether every source item has its items."""

from collections.abc import Iterator

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may
from pipeline.queue import status
from pipeline.queue.pauses import find_pause
from pipeline.spaces import Space


def _embed(connection: Connection, space: Space) -> str:
    """The command after which rows that wait are embedded."""
    pause = find_pause(connection, space.id)
    return pause.end if pause else "pipeline ingest --once"


def coverage(connection: Connection, space: Space) -> Iterator[Check]:
    if not may(connection, "ingest_jobs", "SELECT"):
        yield _by_the_view(connection, space)
        return
    found = spaces.coverage(connection, space)
    counts = status.counts(connection, space.id)
    if found.lost:
        fix = f"pipeline space build {space.name}"
    elif found.pending:
        fix = _embed(connection, space)
    elif counts.failed:
        fix = "pipeline failures, then pipeline retry"
    else:
        fix = ""
    parts = [f"{found.done} of {found.source_items} source items are embedded"]
    parts += [
        f"{count} {name}"
        for count, name in (
            (found.pending, "pending"),
            (counts.failed, "failed"),
            (found.lost, "without a job"),
        )
        if count
    ]
    yield Check("coverage", not fix, ", ".join(parts), fix)


def _by_the_view(connection: Connection, space: Space) -> Check:
    """For a login that may not read the queue: what the view shows to everybody who may search."""
    rows = [row for row in status.ingest_status(connection) if row.space == space.name]
    waiting = sum(row.pending + row.running for row in rows)
    failed = sum(row.failed for row in rows)
    if waiting:
        fix = _embed(connection, space)
    else:
        fix = "pipeline failures, then pipeline retry" if failed else ""
    found = f"{waiting} source items wait, {failed} failed; who may embed counts what is lost, too"
    return Check("coverage", not fix, found, fix)
