"""Whether the statistics for calibrated ranking are fresh."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from pipeline.spaces.statistics import STALE
from pipeline.spaces.statistics import statistics as statistics_of


def statistics(connection: Connection, space: Space) -> Iterator[Check]:
    for one in statistics_of(connection, space):
        taken = f"taken {one.measured_at:%Y-%m-%d %H:%M}" if one.measured_at else "never taken"
        said = f"of {one.known} items, now {one.items}; {taken}"
        if one.is_stale:
            said += f"; beyond {STALE:.0%} the next `pipeline ingest` takes them, or `serve`"
        yield Check(
            f"statistics {one.modality}",
            not one.is_stale,
            said,
            "SELECT * FROM refresh_space_statistics()" if one.is_stale else "",
        )
