"""Items of one modality that lie far from all others, found in a sample of it."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.web import catalogue
from pipeline.web.catalogue import Card
from pipeline.web.statement import of_items

# Items of a sample, each by one look into the index, and neighbours of each. So many at once, and
# no more once it has taken so long: a look takes 2 ms or, among many that are alike, a hundred.
LOOKED_AT = 200
AT_ONCE = 40
SECONDS = 4.0
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

_IDS = """
SELECT i.id FROM multimodal_items AS i TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (%(sample)s)
WHERE i.modality = %(modality)s
ORDER BY hashint8extended(i.id, %(sample)s) LIMIT %(most)s
"""

_NEAR = """
SELECT a.id, (array_agg(n.id ORDER BY n.rank))[1], avg(n.similarity)
FROM unnest(%(ids)s::bigint[]) AS a (id) CROSS JOIN LATERAL search_items(
    like_item => a.id, modality => ARRAY[%(modality)s], k => %(neighbours)s, ranking => 'raw'
) AS n
GROUP BY a.id
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
    }
    (percent,) = fetch_one(connection.execute(_SAMPLE, values))
    ids = [n for (n,) in connection.execute(_IDS, {**values, "percent": percent})]
    near, looked_at = _near(connection, modality, ids)
    farthest = sorted(near, key=lambda one: (one[2], one[0]))[:SHOWN]
    numbers = sorted({number for one, other, _ in farthest for number in (one, other)})
    by_id = {c.id: c for c in catalogue.cards(connection, of_items(numbers))} if numbers else {}
    found = [
        Outlier(by_id[one], by_id[other], similarity)
        for one, other, similarity in farthest
        if one in by_id and other in by_id  # not removed in between
    ]
    usual = statistics.median(one[2] for one in near) if near else None
    return Outliers(found, looked_at, usual)


def _near(
    connection: Connection, modality: str, ids: Sequence[int]
) -> tuple[list[tuple[int, int, float]], int]:
    """Of as many of the items as there is time for: (item, what is nearest, mean similarity of the
    nearest few), and how many those were."""
    began = time.monotonic()
    near: list[tuple[int, int, float]] = []
    looked_at = 0
    while looked_at < len(ids):
        part = ids[looked_at : looked_at + AT_ONCE]
        values = {"ids": part, "modality": modality, "neighbours": NEIGHBOURS}
        near += connection.execute(_NEAR, values).fetchall()
        looked_at += len(part)
        if time.monotonic() - began > SECONDS:
            break
    return near, looked_at
