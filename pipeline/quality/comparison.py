"""One search by the index and by a scan: the two sides that recall@k compares."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from psycopg import sql

from pipeline import modalities
from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.search import query_vectors
from pipeline.spaces import Space

# The share of rows that a filter lets through; independent of the vectors, so the hard case.
CONDITIONS = {"none": 1, "10 %": 10, "1 %": 100}
# Distances that differ by less are equal: an equally near neighbour is as good an answer.
TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Query:
    """A vector to search with, as text; ``item`` is the stored item it came from, 0 for none."""

    vector: str
    item: int


@dataclass(frozen=True, slots=True)
class Exact:
    """The truth of one query: how many rows exact search returns, and the last one's distance."""

    rows: int
    last: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What the scans of one comparison may take; each is one query, and reads the whole table.

    Attributes:
        seconds: no other one is begun after so long; None: all are made.
        least: so many are made all the same,
        most_seconds: but not after so long.
        stop: ends it where it is.
    """

    seconds: float | None = None
    least: int = 20
    most_seconds: float = 300.0
    stop: threading.Event = field(default_factory=threading.Event)

    def is_spent(self, made: int, seconds: float) -> bool:
        """Whether to make no more, after so many in so long."""
        if self.stop.is_set():
            return True
        if self.seconds is None or not made or seconds <= self.seconds:
            return False
        return made >= self.least or seconds > self.most_seconds


@dataclass(frozen=True, slots=True)
class Recall:
    """One measurement.

    Attributes:
        recall: the mean over the queries.
        error: its standard error.
        short: how many queries returned too few rows.
        milliseconds: median time of a query.
    """

    query_modality: str
    item_modality: str
    condition: str
    k: int
    ef_search: int
    queries: int
    recall: float
    short: int
    milliseconds: float
    error: float = 0.0


def sample_queries(connection: Connection, space: Space, modality: str, sample: int) -> list[Query]:
    """Up to ``sample`` vectors: of what people type half from the log of queries, the rest stored
    items.

    The same on every call while the data is the same: the order is that of a hash.
    """
    logged: list[Query] = []
    if modalities.is_typed(modality):
        recent = query_vectors.recent(connection, space.id, sample // 2)
        logged = [Query(vector, 0) for vector in recent]
    rows = connection.execute(
        sql.SQL("SELECT embedding::text, id FROM {} ORDER BY hashint8(id), id LIMIT %s").format(
            space.table(modality)
        ),
        (sample - len(logged),),
    ).fetchall()
    return logged + [Query(vector, item) for vector, item in rows]


def exact(
    connection: Connection,
    space: Space,
    modality: str,
    queries: Sequence[Query],
    k: int,
    condition: str,
    budget: Budget | None = None,
) -> list[Exact]:
    """The truth per query, by a scan of the whole table.

    Returns:
        That of the first queries alone where the budget is for no more.
    """
    statement = sql.SQL("SELECT count(*), coalesce(max(distance), 0) FROM ({}) AS nearest").format(
        _nearest(space, modality, condition)
    )
    settings = {"enable_indexscan": "off", "enable_seqscan": "on"}
    budget = budget or Budget()
    found: list[Exact] = []
    began = time.monotonic()
    for query in queries:
        if budget.is_spent(len(found), time.monotonic() - began):
            break
        (((count, last),), _) = _one(connection, statement, query, k, settings)
        found.append(Exact(count, last))
    return found


def search(
    connection: Connection,
    space: Space,
    asked: str,
    searched: str,
    queries: Sequence[Query],
    truth: Sequence[Exact],
    k: int,
    ef_search: int,
    condition: str,
) -> Recall:
    """The same queries by the index, compared with the truth, which may be that of fewer.

    Raises:
        SpaceError: the planner cannot use the index.
    """
    statement = _by_index(space, searched, condition)
    shares: list[float] = []
    seconds: list[float] = []
    short = 0
    settings = {
        "hnsw.ef_search": str(ef_search),
        "hnsw.iterative_scan": "relaxed_order",
        # Small tables and filters would be scanned otherwise, and it is the index that is on trial.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_sort": "off",
    }
    _check_plan(connection, space, searched, statement, queries[0], k, settings)
    for query, expected in zip(queries, truth, strict=False):
        if not expected.rows:
            continue
        found, took = _one(connection, statement, query, k, settings)
        seconds.append(took)
        hits = sum(distance <= expected.last + TIE for _, distance in found)
        shares.append(hits / expected.rows)
        short += len(found) < expected.rows
    return Recall(
        query_modality=asked,
        item_modality=searched,
        condition=condition,
        k=k,
        ef_search=ef_search,
        queries=len(shares),
        recall=float(np.mean(shares)),
        short=short,
        milliseconds=1000 * float(np.median(seconds)),
        error=float(np.std(shares) / np.sqrt(len(shares))),
    )


def nearest(
    connection: Connection, space: Space, modality: str, vector: str, k: int, ef_search: int
) -> list[tuple[int, float]]:
    """The items of a space, active or not, that are nearest to a vector: number and distance.

    By its index as it is searched, where it has one yet.

    Args:
        vector: as text.
    """
    settings = {"hnsw.ef_search": str(ef_search), "hnsw.iterative_scan": "relaxed_order"}
    found, _ = _one(connection, _by_index(space, modality, "none"), Query(vector, 0), k, settings)
    return sorted(found, key=lambda row: (row[1], row[0]))


def _nearest(space: Space, modality: str, condition: str) -> sql.Composed:
    return sql.SQL(
        """
        SELECT id, embedding <=> %(vector)s::{type} AS distance FROM {table}
        WHERE id <> %(item)s {filter}
        ORDER BY embedding <=> %(vector)s::{type} LIMIT %(k)s
        """
    ).format(
        type=space.column_type,
        table=space.table(modality),
        filter=_filter(condition),
    )


def _by_index(space: Space, modality: str, condition: str) -> sql.Composed:
    """As the search functions ask: of a compact index more, of which whole vectors are compared."""
    if space.compact_dimensions is None:
        return _nearest(space, modality, condition)
    return sql.SQL(
        """
        SELECT id, embedding <=> %(vector)s::{type} AS distance FROM (
            SELECT id, embedding FROM {table}
            WHERE id <> %(item)s {filter}
            ORDER BY {key} <=> (SELECT compact_embedding(
                %(vector)s::{type}::halfvec, {space}, {dimensions}))
            LIMIT greatest(current_setting('hnsw.ef_search')::integer, 4 * (%(k)s + 10))
        ) AS candidates
        ORDER BY (embedding <=> %(vector)s::{type}) + 0 LIMIT %(k)s
        """
    ).format(
        type=space.column_type,
        table=space.table(modality),
        filter=_filter(condition),
        key=space.key,
        space=sql.Literal(space.id),
        dimensions=sql.Literal(space.compact_dimensions),
    )


def _filter(condition: str) -> sql.Composable:
    keep = CONDITIONS[condition]
    if keep == 1:
        return sql.SQL("")
    return sql.SQL("AND abs(hashint8(id)::bigint) %% {} = 0").format(sql.Literal(keep))


def _one(
    connection: Connection,
    statement: sql.Composed,
    query: Query,
    k: int,
    settings: Mapping[str, str],
) -> tuple[list[tuple[int, float]], float]:
    """The rows, and the seconds of the query alone.

    In a transaction of its own: one over all of them would hold its locks for long, and settings
    of the session would reach a pooler's next client.
    """
    with connection.transaction():
        _set(connection, settings)
        began = time.perf_counter()
        rows = connection.execute(
            statement, {"vector": query.vector, "item": query.item, "k": k}
        ).fetchall()
        return rows, time.perf_counter() - began


def _check_plan(
    connection: Connection,
    space: Space,
    modality: str,
    statement: sql.Composed,
    query: Query,
    k: int,
    settings: Mapping[str, str],
) -> None:
    with connection.transaction():
        _set(connection, settings)
        rows = connection.execute(
            sql.SQL("EXPLAIN ") + statement, {"vector": query.vector, "item": query.item, "k": k}
        ).fetchall()
    if not any(space.index_name(modality) in line for (line,) in rows):
        raise SpaceError(
            f"PostgreSQL does not use the index {space.index_name(modality)}; look at "
            "`pipeline doctor`"
        )


def _set(connection: Connection, settings: Mapping[str, str]) -> None:
    """For the transaction."""
    connection.execute(
        "SELECT set_config(s.name, s.value, true) FROM unnest(%s::text[], %s::text[]) "
        "AS s (name, value)",
        (list(settings), list(settings.values())),
    )
