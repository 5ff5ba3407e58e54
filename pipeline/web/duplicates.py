"""Pairs of items that are all but the same, found from the newest item on."""

from dataclasses import dataclass

from pipeline.postgres.connections import Connection
from pipeline.web import catalogue
from pipeline.web.catalogue import Card
from pipeline.web.statement import of_items

# Items that are looked at for one page, each by one look into the index, and neighbours of each.
LOOKED_AT = 200
NEIGHBOURS = 5

# A pair is found at the newer of its items, so that no two pages have it. near_duplicates() looks
# at all items of a modality, which a page has no time for.
_PAIRS = """
WITH looked_at AS MATERIALIZED (
    SELECT i.id, i.source_id FROM multimodal_items AS i
    WHERE i.modality = %(modality)s AND i.id < %(before)s
    ORDER BY i.id DESC LIMIT %(most)s
), near AS (
    SELECT a.id, n.id AS other, n.similarity
    FROM looked_at AS a CROSS JOIN LATERAL search_items(
        like_item => a.id, modality => ARRAY[%(modality)s], k => %(neighbours)s, ranking => 'raw'
    ) AS n
    WHERE n.similarity >= %(least)s::real AND n.source_id <> a.source_id AND n.id < a.id
)
SELECT (SELECT count(*) FROM looked_at), (SELECT min(id) FROM looked_at),
    ARRAY (SELECT id FROM near ORDER BY id DESC, other DESC),
    ARRAY (SELECT other FROM near ORDER BY id DESC, other DESC),
    ARRAY (SELECT similarity FROM near ORDER BY id DESC, other DESC)
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two items of two source items, the newer first."""

    one: Card
    other: Card
    similarity: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some pairs.

    Attributes:
        looked_at: among how many items.
        before: the number of the oldest of these, where there may be older ones.
    """

    pairs: list[Pair]
    looked_at: int
    before: int | None


def pairs(connection: Connection, modality: str, least: float, before: int) -> Pairs:
    """Pairs whose newer item is among the next ``LOOKED_AT`` of a modality.

    Args:
        least: the similarity from which on two items are a pair.
        before: only items with smaller numbers.
    """
    row = connection.execute(
        _PAIRS,
        {
            "modality": modality,
            "before": before,
            "most": LOOKED_AT,
            "neighbours": NEIGHBOURS,
            "least": least,
        },
    ).fetchone()
    assert row is not None
    count, oldest, ones, others, similarities = row
    ids = sorted({*ones, *others}, reverse=True)
    by_id = {card.id: card for card in catalogue.cards(connection, of_items(ids))} if ids else {}
    found = [
        Pair(by_id[one], by_id[other], similarity)
        for one, other, similarity in zip(ones, others, similarities, strict=True)
        if one in by_id and other in by_id  # not removed in between
    ]
    return Pairs(found, count, oldest if count == LOOKED_AT else None)
