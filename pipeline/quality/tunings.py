"""What is stored of the recall of a space's indexes, and whether it is to be measured again.

``space_tunings`` has the least ``ef_search`` that reached the space's target, per modality of
queries and of items, with what it was measured on: how many items, and which graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import modalities
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space, get_space, index_is_valid

if TYPE_CHECKING:
    from pipeline.quality.comparison import Recall

# So many queries per pair: a recall of 0.95 is known to some 0.008 then.
SAMPLE = 100
# Below so many items an untuned ef_search of 100 looks at a tenth of them and more.
LEAST_ITEMS = 1000
# Fewer queries tell nothing.
LEAST_QUERIES = 10
# A modality that has grown by so much is measured anew; so are queries that doubled.
GROWN = 1.5


@dataclass(frozen=True, slots=True)
class Stored:
    """The tuning of one pair; None: an earlier release did not say."""

    query_modality: str
    item_modality: str
    ef_search: int
    target: float
    recall: float
    items: int | None
    queries: int | None
    graph: int | None

    @property
    def is_reached(self) -> bool:
        return self.recall >= self.target


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """What a pair was measured on: see the columns of ``space_tunings``."""

    items: int
    queries: int
    graph: int | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """One modality pair: what was tried, least first, and what was chosen."""

    query_modality: str
    item_modality: str
    target: float
    tried: "tuple[Recall, ...]"
    chosen: "Recall"
    on: MeasuredOn

    @property
    def reached(self) -> bool:
        return self.chosen.recall >= self.target


def stored(connection: Connection, space: Space) -> list[Stored]:
    """The tunings of a space, by item and query modality."""
    rows = connection.execute(
        """
        SELECT query_modality, item_modality, ef_search, target_recall, recall, items, queries,
            graph
        FROM space_tunings WHERE space_id = %s ORDER BY item_modality, query_modality
        """,
        (space.id,),
    ).fetchall()
    return [Stored(*row) for row in rows]


def due(connection: Connection, space: Space) -> list[str]:
    """The modalities whose indexes are to be measured: built, rebuilt or grown since."""
    counts = item_counts(connection, space)
    known = {(one.query_modality, one.item_modality): one for one in stored(connection, space)}
    large = [
        searched
        for searched in space.modalities
        if counts[searched] >= LEAST_ITEMS and index_is_valid(connection, space, searched)
    ]
    if not large:
        return []
    queries = {asked: available(connection, space, asked, counts) for asked in space.modalities}
    return [
        searched
        for searched in large
        if any(
            queries[asked] >= LEAST_QUERIES
            and _is_due(
                known.get((asked, searched)),
                space,
                counts[searched],
                queries[asked],
                graph_of(connection, space, searched),
            )
            for asked in space.modalities
        )
    ]


def _is_due(
    tuning: Stored | None, space: Space, items: int, queries: int, graph: int | None
) -> bool:
    if tuning is None or tuning.items is None or tuning.queries is None:
        return True
    return (
        tuning.graph != graph
        or tuning.target != space.target_recall
        or items >= GROWN * tuning.items
        or queries >= 2 * tuning.queries
    )


def item_counts(connection: Connection, space: Space) -> dict[str, int]:
    """By modality, as of the statistics, which are never off by more than a twentieth."""
    rows = connection.execute(
        "SELECT modality, item_count FROM space_modalities WHERE space_id = %s", (space.id,)
    ).fetchall()
    return dict(rows)


def available(connection: Connection, space: Space, asked: str, counts: dict[str, int]) -> int:
    """How many queries of a modality there are to measure with, of ``SAMPLE`` that are wanted."""
    if counts[asked] >= SAMPLE or not modalities.is_typed(asked):
        return min(SAMPLE, counts[asked])
    # Late: NumPy, which a run with nothing to measure must not pay for.
    from pipeline.search import query_vectors

    logged = len(query_vectors.recent(connection, space.id, SAMPLE // 2))
    return min(SAMPLE, counts[asked] + logged)


def graph_of(connection: Connection, space: Space, modality: str) -> int | None:
    """The number of the index's file, another one after every build; None: there is no index."""
    row = connection.execute(
        "SELECT pg_relation_filenode(to_regclass(%s))", (space.index_name(modality),)
    ).fetchone()
    return None if row is None else row[0]


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
                target_recall, recall, milliseconds, items, queries, graph)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (space_id, query_modality, item_modality) DO UPDATE SET
                ef_search = excluded.ef_search, target_recall = excluded.target_recall,
                recall = excluded.recall, milliseconds = excluded.milliseconds, tuned_at = now(),
                items = excluded.items, queries = excluded.queries, graph = excluded.graph
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
                    t.on.items,
                    t.on.queries,
                    t.on.graph,
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


def set_target(connection: Connection, space: Space, target: float) -> Space:
    """Make this the recall that the space's indexes are to have; the space as it is then."""
    connection.execute(
        "UPDATE embedding_spaces SET target_recall = %s WHERE id = %s", (target, space.id)
    )
    return get_space(connection, space.name)
