"""One search by the index and by a scan: the two sides that recall@k compares."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
class Recall:
    """One measurement; ``short`` counts the queries that returned too few rows."""

    query_modality: str
    item_modality: str
    condition: str
    k: int
    ef_search: int
    queries: int
    recall: float
    short: int
    milliseconds: float


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
) -> list[Exact]:
    """The truth per query, by a scan of the whole table."""
    statement = sql.SQL("SELECT count(*), coalesce(max(distance), 0) FROM ({}) AS nearest").format(
        _nearest(space, modality, condition)
    )
    with _settings(connection, enable_indexscan="off", enable_seqscan="on"):
        rows = [_one(connection, statement, query, k) for query in queries]
    return [Exact(count, last) for ((count, last),) in rows]


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
    """The same queries by the index, compared with the truth.

    Raises:
        SpaceError: the planner cannot use the index.
    """
    statement = _nearest(space, searched, condition)
    shares: list[float] = []
    seconds: list[float] = []
    short = 0
    with _settings(
        connection,
        **{
            "hnsw.ef_search": str(ef_search),
            "hnsw.iterative_scan": "relaxed_order",
            # Small tables and filters would be scanned otherwise, and it is the index that is
            # on trial.
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "enable_sort": "off",
        },
    ):
        _check_plan(connection, space, searched, statement, queries[0], k)
        for query, expected in zip(queries, truth, strict=True):
            if not expected.rows:
                continue
            began = time.perf_counter()
            found = _one(connection, statement, query, k)
            seconds.append(time.perf_counter() - began)
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
    )


def _nearest(space: Space, modality: str, condition: str) -> sql.Composed:
    keep = CONDITIONS[condition]
    return sql.SQL(
        """
        SELECT id, embedding <=> %(vector)s::{type} AS distance FROM {table}
        WHERE id <> %(item)s {filter}
        ORDER BY embedding <=> %(vector)s::{type} LIMIT %(k)s
        """
    ).format(
        type=space.column_type,
        table=space.table(modality),
        filter=sql.SQL("AND abs(hashint8(id)::bigint) %% {} = 0").format(sql.Literal(keep))
        if keep > 1
        else sql.SQL(""),
    )


def _one(
    connection: Connection, statement: sql.Composed, query: Query, k: int
) -> list[tuple[int, float]]:
    return connection.execute(
        statement, {"vector": query.vector, "item": query.item, "k": k}
    ).fetchall()


def _check_plan(
    connection: Connection,
    space: Space,
    modality: str,
    statement: sql.Composed,
    query: Query,
    k: int,
) -> None:
    rows = connection.execute(
        sql.SQL("EXPLAIN ") + statement, {"vector": query.vector, "item": query.item, "k": k}
    ).fetchall()
    if not any(space.index_name(modality) in line for (line,) in rows):
        raise SpaceError(
            f"PostgreSQL does not use the index {space.index_name(modality)}; look at "
            "`pipeline doctor`"
        )


@contextlib.contextmanager
def _settings(connection: Connection, **settings: str) -> Iterator[None]:
    """Of the session, not of a transaction: that would hold its locks through all the queries."""
    try:
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield
    finally:
        for name in settings:
            if not connection.broken:
                connection.execute(sql.SQL("RESET {}").format(_setting(name)))


def _setting(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))
