"""Recall@k: does the HNSW index find what exact search finds, per query and item modality?

Not to be confused with retrieval R@k (``pipeline.quality.retrieval``), which asks whether the right
neighbours are near at all.
"""

from collections.abc import Callable, Mapping, Sequence

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality.comparison import Recall, exact, sample_queries, search
from pipeline.quality.tunings import item_counts, stored
from pipeline.spaces import Space, missing_indexes


def measure(
    connection: Connection,
    space: Space,
    *,
    k: int = 10,
    sample: int = 100,
    ef_search: int | None = None,
    conditions: Sequence[str] = ("none",),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Recall]:
    """Index against exact search for every modality pair that has items and every condition.

    Reads the space's own tables, so a space can be judged before it is active. No transaction is
    open between two queries.

    Args:
        sample: queries per query modality, from stored items and the log of text queries.
        ef_search: None: the pair's tuned value, else the space's.
        conditions: of ``searches.CONDITIONS``.

    Raises:
        SpaceError: the space has no item, or no whole index.
    """
    if missing := missing_indexes(connection, space):
        raise SpaceError(
            f"the space {space.name!r} has no whole HNSW index over its {' and '.join(missing)} "
            f"items; build it with `pipeline space build {space.name}`"
        )
    tuned = tuned_ef_search(connection, space)
    results = []
    for asked in space.modalities:
        queries = sample_queries(connection, space, asked, sample)
        for searched in space.modalities:
            for condition in conditions:
                progress(f"{asked} -> {searched}, filter {condition}")
                truth = exact(connection, space, searched, queries, k, condition)
                if not any(t.rows for t in truth):
                    continue
                ef = ef_search or tuned.get((asked, searched), space.ef_search)
                results.append(
                    search(connection, space, asked, searched, queries, truth, k, ef, condition)
                )
    if not results:
        raise SpaceError(f"the space {space.name!r} has no items to search among")
    return results


def tuned_ef_search(connection: Connection, space: Space) -> dict[tuple[str, str], int]:
    """What was stored by ``pipeline tune`` or by itself, by query and item modality."""
    return {
        (one.query_modality, one.item_modality): one.ef_search for one in stored(connection, space)
    }


def record(
    connection: Connection,
    space: Space,
    results: Sequence[Recall],
    *,
    counts: Mapping[str, int] | None = None,
    retention_days: float = 0.0,
) -> None:
    """Store measurements with their time; recall@10 without a filter also with the modality.

    Args:
        counts: by modality, the items that were searched among; None: as of the statistics.
        retention_days: measurements that are older are forgotten; 0: none are.
    """
    counts = counts or item_counts(connection, space)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO space_evaluations (space_id, metric, query_modality, item_modality,
                condition, ef_search, queries, value, milliseconds, items)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    space.id,
                    f"recall@{r.k}",
                    r.query_modality,
                    r.item_modality,
                    r.condition,
                    r.ef_search,
                    r.queries,
                    r.recall,
                    r.milliseconds,
                    counts[r.item_modality],
                )
                for r in results
            ],
        )
        if retention_days:
            cursor.execute(
                "DELETE FROM space_evaluations WHERE measured_at < now() - make_interval("
                "secs => %s)",
                (86400 * retention_days,),
            )
        for modality in space.modalities:
            measured = [
                r.recall
                for r in results
                if (r.item_modality, r.condition, r.k) == (modality, "none", 10)
            ]
            if measured:
                cursor.execute(
                    "UPDATE space_modalities SET recall = %s WHERE space_id = %s AND modality = %s",
                    (min(measured), space.id, modality),
                )
