"""Items of one modality that lie far from all others, found in a sample of it."""

from dataclasses import dataclass

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.web import catalogue
from pipeline.web.catalogue import Card
from pipeline.web.statement import of_items

# Items of a sample, each by one look into the index, and neighbours of each.
LOOKED_AT = 200
NEIGHBOURS = 5
SHOWN = 24

# Whole blocks of the table are read, half as many again as are needed: some hold fewer items. How
# many items there are is as of the statistics, or of a count that stops at some thousands.
_SAMPLE = """
SELECT least(100, 150.0 * %(most)s / greatest(%(counted)s, 1, (
    SELECT max(m.item_count)
    FROM embedding_spaces AS e JOIN space_modalities AS m ON m.space_id = e.id
    WHERE e.state = 'active' AND m.modality = %(modality)s)))::real
"""

_OUTLIERS = """
WITH looked_at AS MATERIALIZED (
    SELECT i.id FROM multimodal_items AS i TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (%(sample)s)
    WHERE i.modality = %(modality)s
    ORDER BY hashint8extended(i.id, %(sample)s) LIMIT %(most)s
), near AS MATERIALIZED (
    SELECT a.id, avg(n.similarity) AS similarity, (array_agg(n.id ORDER BY n.rank))[1] AS nearest
    FROM looked_at AS a CROSS JOIN LATERAL search_items(
        like_item => a.id, modality => ARRAY[%(modality)s], k => %(neighbours)s, ranking => 'raw'
    ) AS n
    GROUP BY a.id
), farthest AS MATERIALIZED (
    SELECT id, nearest, similarity FROM near ORDER BY similarity, id LIMIT %(shown)s
)
SELECT (SELECT count(*) FROM looked_at),
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY similarity) FROM near),
    ARRAY (SELECT id FROM farthest ORDER BY similarity, id),
    ARRAY (SELECT nearest FROM farthest ORDER BY similarity, id),
    ARRAY (SELECT similarity FROM farthest ORDER BY similarity, id)
"""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An item, the one that is nearest to it, and its mean similarity to the nearest few."""

    item: Card
    nearest: Card
    similarity: float


@dataclass(frozen=True, slots=True)
class Outliers:
    """Those of a sample, the farthest first.

    Attributes:
        looked_at: among how many items.
        usual: the median of what ``similarity`` is in the sample; None: nothing has neighbours.
    """

    outliers: list[Outlier]
    looked_at: int
    usual: float | None


def outliers(connection: Connection, modality: str, counted: int, sample: int) -> Outliers:
    """The items of a sample of a modality whose nearest neighbours in all of it are farthest.

    Args:
        counted: so many items there are at least.
        sample: another number, another sample.
    """
    values = {
        "modality": modality,
        "counted": counted,
        "sample": sample,
        "most": LOOKED_AT,
        "neighbours": NEIGHBOURS,
        "shown": SHOWN,
    }
    (percent,) = fetch_one(connection.execute(_SAMPLE, values))
    count, usual, ids, nearest, similarities = fetch_one(
        connection.execute(_OUTLIERS, {**values, "percent": percent})
    )
    numbers = sorted({*ids, *nearest})
    by_id = {c.id: c for c in catalogue.cards(connection, of_items(numbers))} if numbers else {}
    found = [
        Outlier(by_id[one], by_id[other], similarity)
        for one, other, similarity in zip(ids, nearest, similarities, strict=True)
        if one in by_id and other in by_id  # not removed in between
    ]
    return Outliers(found, count, usual)
