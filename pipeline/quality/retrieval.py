"""Retrieval quality: do items that belong together find each other? By exact search.

Which belong together says a key of ``metadata``: items with the same value under it. The numbers
are those of clip-benchmark for the same vectors and pairs, see docs/quality.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pipeline.errors import ConfigurationError
from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.quality.metrics import (
    centred,
    first_ranks,
    group_numbers,
    median_rank,
    ndcg_at,
    recall_at,
)
from pipeline.spaces import Space
from pipeline.vectors import Vectors

KS = (1, 5, 10)
NDCG_K = 10


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One direction: how well one modality finds what belongs to it in another."""

    query_modality: str
    item_modality: str
    queries: int
    items: int
    recall: dict[int, float]  # R@k by k
    median_rank: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Each direction, and NDCG@10 of results of all modalities, raw and calibrated."""

    space: str
    pairs_by: str
    directions: tuple[Retrieval, ...]
    ndcg_raw: float
    ndcg_calibrated: float

    def mean_recall(self, k: int) -> float:
        """R@k, mean of the directions: the number that two spaces are compared by."""
        return float(np.mean([direction.recall[k] for direction in self.directions]))


@dataclass(frozen=True, slots=True)
class PairedItems:
    """The items of one modality that carry the key: row i of ``vectors`` belongs to ``keys[i]``."""

    keys: list[str]
    vectors: Vectors


def retrieval(
    connection: Connection, space: Space, key: str, *, ks: Sequence[int] = KS
) -> RetrievalReport:
    """Measure the space on the items whose metadata has ``key``, over every pair of modalities.

    Raises:
        ConfigurationError: no two modalities share a value of the key.
    """
    paired = {name: load_paired(connection, space, name, key) for name in space.modalities}
    shared = {
        (asked, searched): values
        for asked, searched in permutations(paired, 2)
        if (values := set(paired[asked].keys) & set(paired[searched].keys))
    }
    if not shared:
        raise ConfigurationError(
            f"no two items of different modalities of the space {space.name!r} share a value of "
            f"metadata key {key!r}; keys there: "
            f"{', '.join(metadata_keys(connection, space)) or 'none'}"
        )
    # As in the papers, everything searched among belongs to some query.
    kept = {
        name: _only(items, set().union(*(v for pair, v in shared.items() if name in pair)))
        for name, items in paired.items()
        if any(name in pair for pair in shared)
    }
    numbers = group_numbers([value for items in kept.values() for value in items.keys])
    means = {name: _mean(connection, space, name) for name in kept}
    raw = np.concatenate([items.vectors for items in kept.values()])
    calibrated = np.concatenate([centred(i.vectors, means[name]) for name, i in kept.items()])
    return RetrievalReport(
        space=space.name,
        pairs_by=key,
        directions=tuple(
            _direction(pair, _only(paired[pair[0]], values), _only(paired[pair[1]], values), ks)
            for pair, values in shared.items()
        ),
        ndcg_raw=ndcg_at(raw, raw, numbers, NDCG_K),
        ndcg_calibrated=ndcg_at(calibrated, calibrated, numbers, NDCG_K),
    )


def _direction(
    pair: tuple[str, str], asked: PairedItems, searched: PairedItems, ks: Sequence[int]
) -> Retrieval:
    """How well the one finds what belongs to it in the other; both have the same keys."""
    groups = group_numbers([*asked.keys, *searched.keys])
    of_asked, of_searched = groups[: len(asked.keys)], groups[len(asked.keys) :]
    ranks = first_ranks(asked.vectors, of_asked, searched.vectors, of_searched)
    return Retrieval(
        query_modality=pair[0],
        item_modality=pair[1],
        queries=len(ranks),
        items=len(searched.keys),
        recall={k: recall_at(ranks, k) for k in ks},
        median_rank=median_rank(ranks),
    )


def load_paired(connection: Connection, space: Space, modality: str, key: str) -> PairedItems:
    """Every item of the modality whose metadata has a value under ``key``."""
    rows = connection.execute(
        sql.SQL(
            "SELECT metadata ->> %(key)s, embedding FROM {} "
            "WHERE metadata ->> %(key)s IS NOT NULL ORDER BY id"
        ).format(space.table(modality)),
        {"key": key},
        binary=True,
    ).fetchall()
    vectors = [unpack_vector(bytes(data), space.vector_type) for _, data in rows]
    return PairedItems(
        keys=[value for value, _ in rows],
        vectors=np.stack(vectors) if vectors else np.empty((0, space.dimensions), dtype=np.float32),
    )


def metadata_keys(connection: Connection, space: Space, limit: int = 10) -> list[str]:
    """Keys that the metadata of the space's items has, from a sample; for a message."""
    tables = sql.SQL(" UNION ALL ").join(
        sql.SQL("(SELECT metadata FROM {} LIMIT 1000)").format(space.table(modality))
        for modality in space.modalities
    )
    rows = connection.execute(
        sql.SQL(
            "SELECT DISTINCT key FROM ({}) AS i, jsonb_object_keys(CASE "
            "WHEN jsonb_typeof(i.metadata) = 'object' THEN i.metadata END) AS key "
            "WHERE key <> %s ORDER BY key LIMIT %s"
        ).format(tables),
        (NOTES, limit),
    ).fetchall()
    return [key for (key,) in rows]


def record(connection: Connection, space: Space, report: RetrievalReport) -> None:
    """Store a report with its time in ``space_evaluations``."""
    rows: list[tuple[str, str, str, int, float]] = []
    for d in report.directions:
        pair = (d.query_modality, d.item_modality)
        rows += [(f"R@{k}", *pair, d.queries, value) for k, value in d.recall.items()]
        rows.append(("median_rank", *pair, d.queries, d.median_rank))
    both = sum(d.queries for d in report.directions)
    rows.append((f"ndcg@{NDCG_K}", "any", "any", both, report.ndcg_calibrated))
    rows.append((f"ndcg@{NDCG_K} raw", "any", "any", both, report.ndcg_raw))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO space_evaluations (space_id, metric, query_modality, item_modality,
                condition, queries, value)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (space.id, metric, asked, searched, f"pairs by {report.pairs_by}", queries, value)
                for metric, asked, searched, queries, value in rows
            ],
        )


def _only(items: PairedItems, keys: set[str]) -> PairedItems:
    rows = [n for n, key in enumerate(items.keys) if key in keys]
    return PairedItems([items.keys[n] for n in rows], items.vectors[rows])


def _mean(connection: Connection, space: Space, modality: str) -> npt.NDArray[np.float32]:
    """Of all the modality's items, as the search functions centre by it."""
    (mean,) = fetch_one(
        connection.execute(
            sql.SQL("SELECT avg(embedding::vector) FROM {}").format(space.table(modality)),
            binary=True,
        )
    )
    return unpack_vector(bytes(mean), "vector")
