"""Groups of items that are all but the same, found from the newest item on."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.web import catalogue
from pipeline.web.catalogue import Card
from pipeline.web.statement import of_items

# Items that are looked at for one page, each by one look into the index, and neighbours of each.
# So many at once, and no more once it has taken so long: a look takes 2 ms or, among many that are
# alike, a hundred.
LOOKED_AT = 100
AT_ONCE = 20
SECONDS = 4.0
NEIGHBOURS = 5
# Of one group; the others are counted.
SHOWN = 4

# Newer items were looked at on the pages before: a pair is found at the newer of its items.
# near_duplicates() looks at all items of a modality, which a page has no time for.
_PAIRS = """
WITH looked_at AS MATERIALIZED (
    SELECT i.id FROM multimodal_items AS i
    WHERE i.modality = %(modality)s AND i.id < %(before)s
    ORDER BY i.id DESC LIMIT %(most)s
), near AS (
    SELECT a.id, n.id AS other, n.similarity
    FROM looked_at AS a CROSS JOIN LATERAL search_items(
        like_item => a.id, modality => ARRAY[%(modality)s], k => %(neighbours)s, ranking => 'raw'
    ) AS n
    WHERE n.similarity >= %(least)s::real AND n.id < %(before)s
)
SELECT (SELECT count(*) FROM looked_at), (SELECT min(id) FROM looked_at),
    ARRAY (SELECT id FROM near ORDER BY id, other),
    ARRAY (SELECT other FROM near ORDER BY id, other),
    ARRAY (SELECT similarity FROM near ORDER BY id, other)
"""

Link = tuple[int, int, float]


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are near-duplicates of one another, directly or by others of them.

    Attributes:
        cards: the newest of them, at most ``SHOWN``.
        items: how many there are among those that were looked at and their neighbours.
        least: the smallest similarity of two that were found to be near.
        most: the largest.
    """

    cards: list[Card]
    items: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Groups:
    """Some groups.

    Attributes:
        looked_at: among how many items.
        before: the number of the oldest of these, where there may be older ones.
    """

    groups: list[Group]
    looked_at: int
    before: int | None


def groups(connection: Connection, modality: str, least: float, before: int) -> Groups:
    """Groups with an item among the next ``LOOKED_AT`` of a modality, or as many as there is time
    for, that of the newest first.

    One that goes on among older items is continued where these are looked at.

    Args:
        least: the similarity from which on two items are near-duplicates.
        before: only items with smaller numbers.
    """
    links, looked_at, older = _links(connection, modality, least, before)
    found = components(links)
    shown = [number for ids, _ in found for number in ids[:SHOWN]]
    by_id = {c.id: c for c in catalogue.cards(connection, of_items(shown))} if shown else {}
    made = []
    for ids, similarities in found:
        cards = [by_id[number] for number in ids[:SHOWN] if number in by_id]
        if len(cards) > 1:  # none was removed in between
            made.append(Group(cards, len(ids), min(similarities), max(similarities)))
    return Groups(made, looked_at, older)


def _links(
    connection: Connection, modality: str, least: float, before: int
) -> tuple[list[Link], int, int | None]:
    """What :func:`groups` looks at: pairs, among how many items, and the oldest of these where
    there may be older ones."""
    began = time.monotonic()
    links: list[Link] = []
    looked_at = 0
    while True:
        most = min(AT_ONCE, LOOKED_AT - looked_at)
        values = {
            "modality": modality,
            "before": before,
            "most": most,
            "neighbours": NEIGHBOURS,
            "least": least,
        }
        count, oldest, *columns = fetch_one(connection.execute(_PAIRS, values))
        links += zip(*columns, strict=True)
        looked_at += count
        if count < most:
            return links, looked_at, None
        if looked_at == LOOKED_AT or time.monotonic() - began > SECONDS:
            return links, looked_at, oldest
        before = oldest


def components(links: Iterable[Link]) -> list[tuple[list[int], list[float]]]:
    """What hangs together, the newest item's first: items, newest first, and similarities."""
    near: dict[int, dict[int, float]] = defaultdict(dict)
    for one, other, similarity in links:
        near[one][other] = near[other][one] = similarity
    found = []
    seen: set[int] = set()
    for first in sorted(near, reverse=True):
        if first in seen:
            continue
        seen.add(first)
        reached = [first]
        for item in reached:  # which grows
            new = near[item].keys() - seen
            seen |= new
            reached += new
        similarities = [similarity for item in reached for similarity in near[item].values()]
        found.append((sorted(reached, reverse=True), similarities))
    return found
