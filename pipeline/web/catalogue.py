"""What the pages read of items. The one module that knows how searching is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from pipeline import modalities
from pipeline.errors import SpaceError
from pipeline.modalities.moments import moment_of
from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection
from pipeline.queue.status import ingest_status, may_know_counts
from pipeline.references import name_of, redact
from pipeline.spaces import Space, get_space
from pipeline.web.asked import After
from pipeline.web.faults import PageError
from pipeline.web.statement import Statement

# Items of each modality that a similarity is compared with, to say it in words.
SAMPLE = 300
_NAMES = ((4.0, "very close"), (3.0, "close"), (2.0, "related"), (1.0, "loosely related"))
_SAME = 0.995
# A modality's items are counted up to here.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How near items of one modality are to a query at random: mean and deviation of cosines."""

    mean: float
    deviation: float

    def word(self, similarity: float) -> str:
        """The similarity as people say it.

        Cosines of different modalities and models are not alike: 0.3 is much between a text and
        an image of CLIP, and little between two texts. What is far above the usual is near.
        """
        if similarity >= _SAME:
            return "the same"
        above = self.above(similarity)
        return next((word for least, word in _NAMES if above >= least), "far")

    def above(self, similarity: float) -> float:
        """By how many deviations it is above the mean."""
        return (similarity - self.mean) / max(self.deviation, 1e-6)


@dataclass(frozen=True, slots=True)
class Card:
    """An item as a page shows it.

    Attributes:
        text: the beginning of its content, where that is text; else None.
        place: where it is: a file's name, or a URL without secrets.
        moment: which part of a film, a sound or a document it is.
        size: width and height of its image, where they are known.
        closeness: the similarity in words.
        above: by how many deviations the similarity is above the usual.
    """

    rank: int
    id: int
    source_id: int
    part: int
    modality: str
    similarity: float | None
    score: float | None
    text: str | None
    place: str
    caption: str
    size: tuple[int, int] | None
    moment: str = ""
    closeness: str = ""
    above: float = 0.0

    @property
    def label(self) -> str:
        """What it is called."""
        return self.caption or self.text or self.place

    @property
    def after(self) -> After:
        """Where a page begins that comes after it."""
        return After(self.rank, self.score or 0.0, self.similarity or 0.0, self.id)


def cards(connection: Connection, statement: Statement) -> list[Card]:
    """The rows of a page."""
    cursor = allow_packed(connection.cursor(row_factory=dict_row))
    rows = cursor.execute(statement.run, statement.values).fetchall()
    found = scales(connection, statement, sorted({row["modality"] for row in rows}))
    return [card(row, found) for row in rows]


def card(row: Mapping[str, Any], scale_of: Mapping[str, Scale]) -> Card:
    """One row of ``statement.py``."""
    modality = modalities.find(row["modality"])
    reference = row["content_ref"]
    is_text = modality is not None and modality.inline
    scale, similarity = scale_of.get(row["modality"]), row["similarity"]
    has_word = scale is not None and similarity is not None
    return Card(
        rank=row["rank"],
        id=row["id"],
        source_id=row["source_id"],
        part=row["part"],
        modality=row["modality"],
        similarity=similarity,
        score=row["score"],
        text=reference if is_text else None,
        place="" if is_text else name_of(redact(reference, row["content_bytes"])),
        caption=(row["caption"] or "").strip(),
        size=_size(row["width"], row["height"]),
        moment="" if is_text else _moment(row["notes"]),
        closeness=scale.word(similarity) if scale and has_word else "",
        above=scale.above(similarity) if scale and has_word else 0.0,
    )


def _moment(notes: Any) -> str:
    moment = moment_of(notes) if isinstance(notes, dict) else None
    return "" if moment is None else str(moment)


def _size(width: str | None, height: str | None) -> tuple[int, int] | None:
    """Whoever writes metadata may have put anything there."""
    found = [int(n) if n and n.isascii() and n.isdecimal() else 0 for n in (width, height)]
    return (found[0], found[1]) if min(found) > 0 else None


_SCALE = sql.SQL(
    """
    SELECT s.modality, avg(s.similarity), coalesce(stddev_samp(s.similarity), 0)
    FROM unnest(%(of_modalities)s::text[]) AS m (modality)
    CROSS JOIN LATERAL (
        SELECT i.modality, 1 - item_distance(i.embedding, (SELECT {probe})) AS similarity
        FROM multimodal_items AS i WHERE i.modality = m.modality LIMIT %(sample)s
    ) AS s
    GROUP BY s.modality
    """
)


def scales(connection: Connection, statement: Statement, names: Sequence[str]) -> dict[str, Scale]:
    """How near some items of each of these modalities are to what is searched for."""
    if statement.probe is None:
        return {}
    rows = allow_packed(connection.cursor()).execute(
        _SCALE.format(probe=statement.probe),
        {**statement.values, "of_modalities": list(names), "sample": SAMPLE},
    )
    return {modality: Scale(mean, deviation) for modality, mean, deviation in rows.fetchall()}


@dataclass(frozen=True, slots=True)
class Chip:
    """A modality and how many of its items this login sees, ``MOST_COUNTED`` and one at most."""

    modality: str
    items: int

    @property
    def count(self) -> str:
        return f"{MOST_COUNTED:,}+" if self.items > MOST_COUNTED else f"{self.items:,}"


def chips(connection: Connection) -> list[Chip]:
    """The modalities of the active space."""
    rows = connection.execute(
        """
        SELECT m.modality, (
            SELECT count(*) FROM (
                SELECT FROM multimodal_items AS i WHERE i.modality = m.modality LIMIT %s
            ) AS seen)
        FROM embedding_spaces AS e JOIN space_modalities AS m ON m.space_id = e.id
        WHERE e.state = 'active'
        """,
        (MOST_COUNTED + 1,),
    ).fetchall()
    counts: dict[str, int] = dict(rows)
    return [Chip(name, counts[name]) for name in modalities.ordered(counts)]


def chosen(chips: Sequence[Chip], name: str) -> Chip | None:
    """The modality of this name, or the first that has items where none is named.

    Raises:
        PageError: 400: the active space has no such modality.
    """
    if not name:
        return next((chip for chip in chips if chip.items), None)
    found = next((chip for chip in chips if chip.modality == name), None)
    if found is None and chips:
        names = ", ".join(chip.modality for chip in chips)
        raise PageError(400, f"There is no modality {name[:40]!r}.", f"Choose from {names}.")
    return found


def named_space(connection: Connection, name: str) -> Space:
    """The space of this name. Raises PageError."""
    try:
        return get_space(connection, name)
    except SpaceError as exc:
        raise PageError(404, f"There is no space {name[:60]!r}.") from exc


def attached(connection: Connection) -> dict[str, list[str]]:
    """Attached sources by name, each with the sources of its items."""
    rows = connection.execute("SELECT name, sources FROM attached_sources ORDER BY name LIMIT 200")
    return dict(rows.fetchall())


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a page is empty. ``space`` is None where none is active, the numbers where the login may
    not know them."""

    space: str | None
    is_served: bool = False
    pending: int | None = None
    failed: int | None = None


def waiting(connection: Connection) -> Waiting:
    """What stands between this database and results."""
    row = connection.execute(
        "SELECT name, is_served(id) FROM embedding_spaces WHERE state = 'active'"
    ).fetchone()
    if row is None:
        return Waiting(None)
    if not may_know_counts(connection):
        return Waiting(*row)
    of_space = [status for status in ingest_status(connection) if status.space == row[0]]
    return Waiting(
        row[0],
        row[1],
        sum(status.pending + status.running for status in of_space),
        sum(status.failed for status in of_space),
    )
