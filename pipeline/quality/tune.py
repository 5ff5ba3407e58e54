"""Tuning: the least ``ef_search`` per modality pair that reaches a wanted recall@k.

Queries of another modality than the items are out of the distribution that the graph was built
for, and need more candidates: text queries for images more than image queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality.comparison import Recall, exact, sample_queries, search
from pipeline.spaces import Space, missing_indexes

STEPS = (10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)  # pgvector's limit is 1000


@dataclass(frozen=True, slots=True)
class Tuning:
    """One modality pair: what was tried, least first, and what was chosen."""

    query_modality: str
    item_modality: str
    target: float
    tried: tuple[Recall, ...]
    chosen: Recall

    @property
    def reached(self) -> bool:
        return self.chosen.recall >= self.target


def tune(
    connection: Connection,
    space: Space,
    *,
    target: float = 0.95,
    k: int = 10,
    sample: int = 100,
    steps: Sequence[int] = STEPS,
    curve: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Tuning]:
    """Try ``steps`` upwards per pair until the target is reached.

    Args:
        curve: try every step, for a plot, also beyond the target.

    Raises:
        SpaceError: there is no whole index, or nothing to search.
    """
    if missing := missing_indexes(connection, space):
        raise SpaceError(
            f"the space {space.name!r} has no whole HNSW index over its {' and '.join(missing)} "
            f"items; build it with `pipeline space build {space.name}`"
        )
    usable = [step for step in steps if step >= k]
    results = []
    for asked in space.modalities:
        queries = sample_queries(connection, space, asked, sample)
        for searched in space.modalities:
            truth = exact(connection, space, searched, queries, k, "none")
            if not any(t.rows for t in truth):
                continue
            tried: list[Recall] = []
            for step in usable:
                progress(f"{asked} -> {searched}, ef_search {step}")
                tried.append(
                    search(connection, space, asked, searched, queries, truth, k, step, "none")
                )
                if tried[-1].recall >= target and not curve:
                    break
            enough = [r for r in tried if r.recall >= target]
            # Recall falls a little now and then as ef_search grows; the best is the last resort.
            chosen = enough[0] if enough else max(tried, key=lambda r: (r.recall, -r.ef_search))
            results.append(Tuning(asked, searched, target, tuple(tried), chosen))
    if not results:
        raise SpaceError(f"the space {space.name!r} has no items to search among")
    return results


def store(connection: Connection, space: Space, tunings: Sequence[Tuning]) -> None:
    """Keep the chosen values, in place of earlier ones, where the search functions look.

    ``space_tunings`` has one value per modality pair; ``space_modalities.ef_search`` the largest
    for each item modality, and ``embedding_spaces.ef_search`` the largest of all, for callers
    that do not know what they search with.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO space_tunings (space_id, query_modality, item_modality, ef_search,
                target_recall, recall, milliseconds)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (space_id, query_modality, item_modality) DO UPDATE SET
                ef_search = excluded.ef_search, target_recall = excluded.target_recall,
                recall = excluded.recall, milliseconds = excluded.milliseconds, tuned_at = now()
            """,
            [
                (
                    space.id,
                    t.query_modality,
                    t.item_modality,
                    t.chosen.ef_search,
                    t.target,
                    t.chosen.recall,
                    t.chosen.milliseconds,
                )
                for t in tunings
            ],
        )
        cursor.execute(
            """
            UPDATE space_modalities AS m SET ef_search = t.ef_search
            FROM (SELECT item_modality, max(ef_search) AS ef_search FROM space_tunings
                  WHERE space_id = %(space)s GROUP BY item_modality) AS t
            WHERE m.space_id = %(space)s AND m.modality = t.item_modality
            """,
            {"space": space.id},
        )
        cursor.execute(
            """
            UPDATE embedding_spaces SET ef_search =
                (SELECT max(ef_search) FROM space_tunings WHERE space_id = %(space)s)
            WHERE id = %(space)s
            """,
            {"space": space.id},
        )
