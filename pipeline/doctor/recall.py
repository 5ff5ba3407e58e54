"""Whether the indexes find what they are to find, and what would mend it."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.quality.tunings import LEAST_ITEMS, Stored, stored
from pipeline.spaces import Space
from pipeline.spaces.index.graph import Graph
from pipeline.spaces.index.rebuild import unfinished

# From so many candidates on a denser graph gives the same recall in less time (docs/scaling.md).
OUTGROWN = 400


def recall(connection: Connection, space: Space) -> Iterator[Check]:
    tunings = stored(connection, space)
    for modality in space.modalities:
        pairs = [one for one in tunings if one.item_modality == modality]
        name = f"recall {modality}"
        if pairs:
            yield _check(name, space, min(pairs, key=_headroom))
        else:
            yield Check(name, True, f"not measured yet; it is from {LEAST_ITEMS:,} items on")
    for index, is_whole in unfinished(connection, space).items():
        yield Check(
            f"index {index}",
            False,
            f"{'whole' if is_whole else 'half'}, left behind by a reindex that did not end",
            f"pipeline space reindex {space.name}; or DROP INDEX CONCURRENTLY {index}",
        )


def _headroom(one: Stored) -> tuple[bool, int]:
    """The worst pair first."""
    return one.is_reached, -one.ef_search


def _check(name: str, space: Space, worst: Stored) -> Check:
    found = (
        f"{worst.query_modality} -> {worst.item_modality} {worst.recall:.3f} with ef_search "
        f"{worst.ef_search}"
    )
    if worst.is_reached and worst.ef_search < OUTGROWN:
        return Check(name, True, found)
    fix = _fix(space)
    if worst.is_reached:
        return Check(name, True, f"{found}; a denser graph would be quicker", fix)
    return Check(name, False, f"{found}, below its target {worst.target:g}", fix)


def _fix(space: Space) -> str:
    """A denser graph, of a compact index over more dimensions as well: either may be what binds."""
    options = ""
    if space.compact_dimensions is not None:
        wider = min(2 * space.compact_dimensions, space.dimensions)
        options = f" --index compact --dimensions {wider}"
        if wider == space.dimensions:
            options = " --index full"
    denser = Graph(space.hnsw_m, space.hnsw_ef_construction).denser()
    if denser is not None:
        options += f" --m {denser.m} --ef-construction {denser.ef_construction}"
    if not options:
        return f"pipeline tune --space {space.name} --target-recall LESS: no denser graph helps"
    return f"pipeline space reindex {space.name}{options}"
