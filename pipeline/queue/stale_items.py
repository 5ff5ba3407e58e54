"""Items that say what is no longer so go with the failure that makes it final."""

from collections import defaultdict
from collections.abc import Iterable

from pipeline.postgres.connections import Connection


def delete_stale(connection: Connection, jobs: Iterable[tuple[int, int]]) -> None:
    """Of each space and source item all the items, and of no other space.

    Args:
        connection: in the transaction that ends the jobs, which it holds, as whoever writes items
            does.
    """
    by_space: dict[int, list[int]] = defaultdict(list)
    for space_id, source_id in jobs:
        by_space[space_id].append(source_id)
    for space_id, source_ids in sorted(by_space.items()):
        connection.execute("SELECT delete_items(%s, %s::bigint[])", (space_id, source_ids))
