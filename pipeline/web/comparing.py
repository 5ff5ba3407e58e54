"""The active space and another one, asked the same: what the gate decides by, to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pipeline import modalities
from pipeline.modalities import TEXT
from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import pack_vector
from pipeline.quality.comparison import nearest
from pipeline.quality.history import Figure, latest
from pipeline.quality.recall import tuned_ef_search
from pipeline.spaces import Space, active_space
from pipeline.vectors import Vectors
from pipeline.web import catalogue
from pipeline.web.asked import Term
from pipeline.web.catalogue import Card
from pipeline.web.faults import PageError
from pipeline.web.parts import Parts
from pipeline.web.statement import of_items

SHOWN = 8
MOST_QUERIES = 3
# Several parts of one source item count once.
_LOOKED_AT = 4 * SHOWN


@dataclass(frozen=True, slots=True)
class Hit:
    """A source item that a space found.

    Attributes:
        elsewhere: its rank in the other space; None: it is not among those shown.
        card: its item in the active space, if there is one that the reader sees.
    """

    rank: int
    source_id: int
    part: int
    similarity: float
    elsewhere: int | None = None
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """What one query finds in the active space and in the other one."""

    query: str
    active: list[Hit]
    other: list[Hit]

    @property
    def shared(self) -> int:
        """How many both found."""
        return sum(hit.elsewhere is not None for hit in self.active)


@dataclass(frozen=True, slots=True)
class Figures:
    """One measured number of both spaces; None: it was not measured there."""

    of: Figure
    active: float | None
    other: float | None


def figures(connection: Connection, active: Space, other: Space) -> list[Figures]:
    """What was measured of either, as it was last."""
    both = [
        {
            (f.condition, f.metric, f.query_modality, f.item_modality): f
            for f in latest(connection, s)
        }
        for s in (active, other)
    ]
    found = {**both[0], **both[1]}
    return [
        Figures(found[key], *(of[key].value if key in of else None for of in both))
        for key in sorted(found)
    ]


@dataclass(frozen=True, slots=True)
class Beside:
    """The active space and another one.

    Attributes:
        figures: what was measured of either.
    """

    active: Space
    other: Space
    figures: list[Figures]

    @property
    def modalities(self) -> list[str]:
        """Those that both have."""
        return [name for name in self.active.modalities if name in self.other.modalities]

    @property
    def usual(self) -> str:
        """What a text is best compared with: what nobody types, where there is such."""
        names = self.modalities
        return next((n for n in names if not modalities.is_typed(n)), next(iter(names), ""))


def beside_active(connection: Connection, name: str) -> Beside:
    """The space of that name beside the active one. Raises PageError."""
    active, other = active_space(connection), catalogue.named_space(connection, name)
    if other.id == active.id:
        raise PageError(400, f"{name} is the active space: name another to compare it with.")
    return Beside(active, other, figures(connection, active, other))


def queries_of(typed: str) -> list[str]:
    """The lines of a text. Raises PageError."""
    queries = list(dict.fromkeys(line.strip() for line in typed.splitlines() if line.strip()))
    if len(queries) > MOST_QUERIES:
        raise PageError(400, f"There are {len(queries)} queries; at most {MOST_QUERIES} at once.")
    return queries


def compare(parts: Parts, beside: Beside, modality: str, query: str) -> Compared:
    """What a text finds in both. Raises PageError, and what keeps a model from being asked."""
    if parts.own is None:
        raise PageError(
            403,
            "The tables of a space that is not active are for who may embed.",
            "Start the pages with `pipeline web --allow-writes`.",
        )
    if modality not in beside.modalities:
        known = ", ".join(modalities.ordered({*beside.modalities}))
        raise PageError(400, f"Both spaces have: {known}; not {modality[:40]!r}.")
    (here,) = parts.finder.find([Term(text=query)])
    assert here.vector is not None
    vector = here.vector
    there = parts.finder.of_other(parts.own, beside.other, query)
    on_the_right = parts.own.read(lambda c: in_other(c, beside.other, there, modality))
    return parts.reading.read(
        lambda c: compared(c, query, modality, in_active(c, vector, modality), on_the_right)
    )


_IN_ACTIVE = """
SELECT source_id, part, similarity
FROM search_items(embedding => %s::halfvec, query_modality => %s, modality => ARRAY[%s], k => %s,
    ranking => 'raw')
ORDER BY rank
"""


def in_active(connection: Connection, vector: Vectors, modality: str) -> list[Hit]:
    """What the active space finds, as every search does."""
    given = pack_vector(vector, "halfvec")
    cursor = allow_packed(connection.cursor())
    cursor.execute(_IN_ACTIVE, (given, TEXT.name, modality, _LOOKED_AT))
    return _hits(cursor.fetchall())


def in_other(connection: Connection, space: Space, vector: Vectors, modality: str) -> list[Hit]:
    """What a space finds whose tables this login may read."""
    ef_search = tuned_ef_search(connection, space).get((TEXT.name, modality), space.ef_search)
    given = "[" + ",".join(map(str, vector.tolist())) + "]"
    near = nearest(connection, space, modality, given, _LOOKED_AT, ef_search)
    rows = connection.execute(
        sql.SQL("SELECT id, source_id, part FROM {} WHERE id = ANY (%s)").format(
            space.table(modality)
        ),
        ([number for number, _ in near],),
    ).fetchall()
    of = {number: (source_id, part) for number, source_id, part in rows}
    return _hits([(*of[number], 1 - distance) for number, distance in near if number in of])


def _hits(rows: Sequence[tuple[int, int, float]]) -> list[Hit]:
    best: dict[int, tuple[int, float]] = {}
    for source_id, part, similarity in rows:
        best.setdefault(source_id, (part, similarity))
    return [
        Hit(rank, source_id, *found)
        for rank, (source_id, found) in enumerate(list(best.items())[:SHOWN], 1)
    ]


def compared(
    connection: Connection, query: str, modality: str, active: list[Hit], other: list[Hit]
) -> Compared:
    """Both sides, each hit with its rank on the other and with what the reader may see of it."""
    cards = _cards(connection, modality, [*active, *other])
    sides = [
        [
            Hit(h.rank, h.source_id, h.part, h.similarity, ranks.get(h.source_id), _of(cards, h))
            for h in hits
        ]
        for hits, ranks in ((active, _ranks(other)), (other, _ranks(active)))
    ]
    return Compared(query, *sides)


def _ranks(hits: Sequence[Hit]) -> dict[int, int]:
    return {hit.source_id: hit.rank for hit in hits}


def _of(cards: dict[int, list[Card]], hit: Hit) -> Card | None:
    """Its very part, else the first: two models may cut a text differently."""
    found = cards.get(hit.source_id, [])
    return next((card for card in found if card.part == hit.part), next(iter(found), None))


def _cards(connection: Connection, modality: str, hits: Sequence[Hit]) -> dict[int, list[Card]]:
    """By source item, items of the active space; of each the parts found, and its first."""
    parts = [(hit.source_id, hit.part) for hit in hits] + [(hit.source_id, 0) for hit in hits]
    rows = connection.execute(
        """
        SELECT i.id FROM multimodal_items AS i
        WHERE i.modality = %s AND (i.source_id, i.part) IN (
            SELECT * FROM unnest(%s::bigint[], %s::integer[]))
        """,
        (modality, [source_id for source_id, _ in parts], [part for _, part in parts]),
    ).fetchall()
    found: dict[int, list[Card]] = {}
    if rows:
        for card in catalogue.cards(connection, of_items([number for (number,) in rows])):
            found.setdefault(card.source_id, []).append(card)
    return found
