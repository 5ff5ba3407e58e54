"""Retrieval quality: do items that belong together find each other? By exact search.

Which belong together says a key of ``metadata``: items with the same value under it. The numbers
are those of clip-benchmark for the same vectors and pairs, see docs/quality.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pipeline.errors import ConfigurationError
from pipeline.modalities import MODALITIES
from pipeline.postgres.connections import Connection
from pipeline.quality.metrics import (
    Groups,
    centred,
    first_ranks,
    group_numbers,
    median_rank,
    ndcg_at,
    recall_at,
)
from pipeline.spaces import Space
from pipeline.spaces.items import unpack_vector
from pipeline.vectors import Vectors

KS = (1, 5, 10)
NDCG_K = 10


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One direction: how well one modality finds what belongs to it in the other."""

    query_modality: str
    item_modality: str
    queries: int
    items: int
    recall: dict[int, float]  # R@k by k
    median_rank: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Both directions, and NDCG@10 of results of both modalities, raw and calibrated."""

    space: str
    pairs_by: str
    directions: tuple[Retrieval, ...]
    ndcg_raw: float
    ndcg_calibrated: float

    def mean_recall(self, k: int) -> float:
        """R@k, mean of the two directions: the number that two spaces are compared by."""
        return float(np.mean([direction.recall[k] for direction in self.directions]))


@dataclass(frozen=True, slots=True)
class PairedItems:
    """The items of one modality that carry the key: row i of ``vectors`` belongs to ``keys[i]``."""

    keys: list[str]
    vectors: Vectors


def retrieval(
    connection: Connection, space: Space, key: str, *, ks: Sequence[int] = KS
) -> RetrievalReport:
    """Measure the space on the items whose metadata has ``key``.

    Raises:
        ConfigurationError: no text and image share a value of the key.
    """
    paired = {modality: load_paired(connection, space, modality, key) for modality in MODALITIES}
    shared = set(paired["text"].keys) & set(paired["image"].keys)
    if not shared:
        raise ConfigurationError(
            f"no text and image of the space {space.name!r} share a value of metadata key "
            f"{key!r}; keys there: {', '.join(metadata_keys(connection, space)) or 'none'}"
        )
    # As in the papers, everything searched among belongs to some query.
    kept = {modality: _only(items, shared) for modality, items in paired.items()}
    numbers = group_numbers([key for items in kept.values() for key in items.keys])
    texts = len(kept["text"].keys)
    groups = {"text": numbers[:texts], "image": numbers[texts:]}
    directions = tuple(
        _direction(kept, groups, asked, searched, ks)
        for asked, searched in (("text", "image"), ("image", "text"))
    )
    means = {modality: _mean(connection, space, modality) for modality in MODALITIES}
    raw = np.concatenate([items.vectors for items in kept.values()])
    calibrated = np.concatenate([centred(kept[m].vectors, means[m]) for m in MODALITIES])
    return RetrievalReport(
        space=space.name,
        pairs_by=key,
        directions=directions,
        ndcg_raw=ndcg_at(raw, raw, numbers, NDCG_K),
        ndcg_calibrated=ndcg_at(calibrated, calibrated, numbers, NDCG_K),
    )


def _direction(
    kept: dict[str, PairedItems],
    groups: dict[str, Groups],
    asked: str,
    searched: str,
    ks: Sequence[int],
) -> Retrieval:
    ranks = first_ranks(
        kept[asked].vectors, groups[asked], kept[searched].vectors, groups[searched]
    )
    return Retrieval(
        query_modality=asked,
        item_modality=searched,
        queries=len(ranks),
        items=len(kept[searched].keys),
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
        for modality in MODALITIES
    )
    rows = connection.execute(
        sql.SQL(
            "SELECT DISTINCT key FROM ({}) AS i, jsonb_object_keys(i.metadata) AS key "
            "WHERE key <> '_pipeline' ORDER BY key LIMIT %s"
        ).format(tables),
        (limit,),
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
    row = connection.execute(
        sql.SQL("SELECT avg(embedding::vector) FROM {}").format(space.table(modality)), binary=True
    ).fetchone()
    assert row is not None
    return unpack_vector(bytes(row[0]), "vector")
