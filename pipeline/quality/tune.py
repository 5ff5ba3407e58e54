"""Tuning: the least ``ef_search`` per modality pair that reaches a wanted recall@k.

Queries of another modality than the items are out of the distribution that the graph was built
for, and need more candidates: text queries for images more than image queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality.comparison import Budget, Query, Recall, exact, sample_queries, search
from pipeline.quality.tunings import SAMPLE, MeasuredOn, Tuning, available, graph_of
from pipeline.spaces import Space, missing_indexes
from pipeline.spaces.statistics import statistics

STEPS = (10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)  # pgvector's limit is 1000


@dataclass(frozen=True)
class Trial:
    """How a pair is tried.

    Attributes:
        target: recall@k to reach.
        k: neighbours.
        sample: queries of each query modality.
        steps: values of ``ef_search``, upwards.
        curve: try every step, for a plot, also beyond the target.
        budget: for the scans of each pair.
        progress: told what is being tried.
    """

    target: float = 0.95
    k: int = 10
    sample: int = SAMPLE
    steps: Sequence[int] = STEPS
    curve: bool = False
    budget: Budget = field(default_factory=Budget)
    progress: Callable[[str], None] = lambda _: None


def tune(
    connection: Connection, space: Space, trial: Trial, among: Sequence[str] | None = None
) -> list[Tuning]:
    """Try ``steps`` upwards per pair until the target is reached.

    Args:
        among: only the items of these modalities; None: of all.

    Returns:
        Where it was stopped, the pairs that were tried to the end.

    Raises:
        SpaceError: there is no whole index, or nothing to search.
    """
    among = space.modalities if among is None else among
    if missing := [m for m in missing_indexes(connection, space) if m in among]:
        raise SpaceError(
            f"the space {space.name!r} has no whole HNSW index over its {' and '.join(missing)} "
            f"items; build it with `pipeline space build {space.name}`"
        )
    counts = {one.modality: one.items for one in statistics(connection, space)}
    results = []
    for asked in space.modalities:
        queries = sample_queries(connection, space, asked, trial.sample)
        for searched in among:
            on = MeasuredOn(
                counts[searched],
                available(connection, space, asked, counts),
                graph_of(connection, space, searched),
            )
            tuning = _tune_pair(connection, space, asked, searched, queries, trial, on)
            if tuning is not None:
                results.append(tuning)
    if not results and not trial.budget.stop.is_set():
        raise SpaceError(f"the space {space.name!r} has no items to search among")
    return results


def _tune_pair(
    connection: Connection,
    space: Space,
    asked: str,
    searched: str,
    queries: Sequence[Query],
    trial: Trial,
    on: MeasuredOn,
) -> Tuning | None:
    """None: there is nothing to search with or among, or it was stopped."""
    stop, k = trial.budget.stop, trial.k
    trial.progress(f"{asked} -> {searched}, exact search")
    truth = exact(connection, space, searched, queries, k, "none", trial.budget)
    if not any(t.rows for t in truth):
        return None
    tried: list[Recall] = []
    for step in (step for step in trial.steps if step >= k):
        if stop.is_set():
            return None
        trial.progress(f"{asked} -> {searched}, ef_search {step}")
        tried.append(search(connection, space, asked, searched, queries, truth, k, step, "none"))
        if _reaches(tried[-1], trial.target) and not trial.curve:
            break
    enough = [r for r in tried if _reaches(r, trial.target)]
    # Recall falls a little now and then as ef_search grows; the best is the last resort.
    chosen = enough[0] if enough else max(tried, key=lambda r: (r.recall, -r.ef_search))
    return Tuning(asked, searched, trial.target, tuple(tried), chosen, on)


def _reaches(measured: Recall, target: float) -> bool:
    """Beyond the sample's own error: half of the values that just reach it do not on others."""
    return measured.recall - measured.error >= target
