"""Whether the probes are there."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space


def probes(connection: Connection, space: Space) -> Iterator[Check]:
    row = fetch_one(
        connection.execute(
            "SELECT count(*), coalesce(bool_and(cardinality(embedding) = %s), true) "
            "FROM space_probes WHERE space_id = %s",
            (space.dimensions, space.id),
        )
    )
    count, right_size = row
    if not count:
        # The next worker stores them; that needs the model.
        yield Check("probes", False, "none stored", f"pipeline ingest --once --space {space.name}")
    else:
        yield Check(
            "probes",
            bool(right_size),
            f"{count} stored" if right_size else "of other dimensions than the space",
            "" if right_size else f"pipeline space drop {space.name}, and build it anew",
        )
