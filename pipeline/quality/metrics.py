"""Retrieval metrics over vectors: pure functions, as the papers and clip-benchmark define them.

Exact search, so they judge the model, not the index. Rows are unit vectors; ``groups`` says which
rows belong together: equal number, belongs together.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.vectors import Vectors

Groups = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.int64]
CHUNK = 1024  # queries whose scores are held at once


def first_ranks(queries: Vectors, of_queries: Groups, items: Vectors, of_items: Groups) -> Ranks:
    """Per query the rank, from 1, of the best item that belongs to it; shape (queries,).

    An item that does not belong and has the same score counts as ranked before: a model that
    gives everything one vector finds nothing. Every query must have an item that belongs to it.
    """
    ranks = np.empty(len(queries), dtype=np.int64)
    for rows, scores in _scores(queries, items):
        belongs = of_queries[rows, None] == of_items[None, :]
        best = np.where(belongs, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[rows] = 1 + ((scores >= best) & ~belongs).sum(axis=1)
    return ranks


def recall_at(ranks: Ranks, k: int) -> float:
    """R@k: the share of queries with something that belongs to them among the first k.

    The measure of the CLIP papers and of clip-benchmark's ``*_retrieval_recall@k``: one hit is
    enough, however many items belong to the query.
    """
    return float((ranks <= k).mean())


def median_rank(ranks: Ranks) -> float:
    """The median of the first ranks; 1 is perfect."""
    return float(np.median(ranks))


def ndcg_at(scores_of: Vectors, vectors: Vectors, groups: Groups, k: int) -> float:
    """NDCG@k of searching among all the others with each row; relevance is 1 or 0.

    Rows that belong with nobody are searched among, and not with.

    Args:
        scores_of: what is searched with, (n, D).
        vectors: what is searched among, (n, D), row for row the same items.
    """
    counts = np.unique(groups, return_inverse=True, return_counts=True)
    partners = counts[2][counts[1]] - 1
    asked = np.flatnonzero(partners > 0)
    if not asked.size:
        return float("nan")
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)
    total = 0.0
    for rows, scores in _scores(scores_of[asked], vectors):
        own = asked[rows]
        scores[np.arange(len(own)), own] = -np.inf  # itself is no answer
        width = min(k, scores.shape[1] - 1)
        best = np.argpartition(-scores, width - 1, axis=1)[:, :width]
        order = np.take_along_axis(scores, best, axis=1).argsort(axis=1)[:, ::-1]
        top = np.take_along_axis(best, order, axis=1)
        gains = (groups[top] == groups[own, None]) * discounts[:width]
        total += float((gains.sum(axis=1) / ideal[np.minimum(partners[own], k) - 1]).sum())
    return total / len(asked)


def centred(vectors: Vectors, mean: npt.NDArray[np.float32]) -> Vectors:
    """Rows without their modality's mean, of length 1 again: what calibrated ranking compares."""
    moved = vectors - mean
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    rows: Vectors = (moved / np.maximum(lengths, 1e-12)).astype(np.float32)
    return rows


def group_numbers(keys: Sequence[str]) -> Groups:
    """Equal keys, equal numbers."""
    numbers: Groups = np.unique(np.asarray(keys, dtype=object), return_inverse=True)[1]
    return numbers


def _scores(queries: Vectors, items: Vectors) -> Iterator[tuple[slice, Vectors]]:
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, min(start + CHUNK, len(queries)))
        yield rows, queries[rows] @ items.T
