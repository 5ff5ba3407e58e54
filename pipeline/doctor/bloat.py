"""Indexes that hold room for far more rows than there are."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from pipeline.spaces.index.bloat import index_sizes, whole_bytes

# Until then a VACUUM frees what the next rows take, and only memory is lost (docs/scaling.md).
BLOATED = 2.0
LEAST_BYTES = 2**20


def bloat(connection: Connection, space: Space) -> Iterator[Check]:
    for modality in space.modalities:
        sizes = index_sizes(connection, space, modality)
        if sizes is None or sizes[0] < LEAST_BYTES:
            continue
        size, rows = sizes
        times = size / max(whole_bytes(space, rows), 1)
        bad = times > BLOATED
        found = f"{size / 2**20:.0f} MB, {times:.1f} times what an index of {rows:,} rows takes"
        fix = f"pipeline space reindex {space.name}" if bad else ""
        yield Check(f"bloat {modality}", not bad, found, fix)
