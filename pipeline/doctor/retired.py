"""What retired spaces cost."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may
from pipeline.spaces.retirement import retired

# So long nobody wonders at one that is kept for a rollback.
DAYS = 7


def retired_spaces(connection: Connection) -> Iterator[Check]:
    """Every row that changes makes a job in them, for which nobody may be working."""
    if not may(connection, "ingest_jobs", "SELECT"):
        return  # for who may embed
    for space in retired(connection):
        forgotten = space.jobs > 0 and space.days >= DAYS
        said = f"{space.jobs} jobs wait since {space.retired_at:%Y-%m-%d}"
        drop = f"pipeline space drop {space.name} --yes"
        embed = f"pipeline ingest --once --space {space.name}"
        if space.jobs and not forgotten:
            said += f"; before a rollback: {embed}; for good: {drop}"
        fix = f"{drop}; or to go back to it: {embed}; or PIPELINE_DROP_RETIRED_DAYS"
        yield Check(f"retired {space.name}", not forgotten, said, fix if forgotten else "")
