"""One item: what it is, where it comes from, what lies around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline import modalities
from pipeline.postgres.connections import Connection
from pipeline.references import name_of, redact
from pipeline.web.faults import PageError

# Characters of a text and of metadata that a page shows.
MOST_TEXT = 20_000
MOST_PARTS = 60
MOST_LABELS = 12
# From this similarity on two items of one modality are all but the same.
DUPLICATE = 0.97


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    source_id: int
    part: int
    modality: str
    content_ref: str
    content_bytes: int
    caption: str | None
    metadata: str | None
    sha256: str
    embedded_at: datetime
    space: str
    source: str | None
    source_key: str | None
    row_key: str | None
    attached: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """An item as its page shows it.

    Attributes:
        text: its content, where that is text, at most ``MOST_TEXT`` of it.
        metadata: as indented JSON, at most ``MOST_TEXT`` of it.
        attached: the attached source whose row it is of, which has the key ``row_key``.
    """

    id: int
    source_id: int
    part: int
    modality: str
    text: str | None
    place: str
    has_image: bool
    caption: str
    metadata: str
    sha256: str
    embedded_at: datetime
    space: str
    source: str
    source_key: str
    row_key: str | None
    attached: str | None

    @property
    def label(self) -> str:
        """What it is called."""
        return self.text or self.caption or name_of(self.place)


def item(connection: Connection, number: int) -> Item:
    """An item that this login sees.

    Raises:
        PageError: 404: there is none.
    """
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        row = cursor.execute(
            """
            SELECT i.id, i.source_id, i.part, i.modality,
                left(i.content_ref, %(most)s) AS content_ref,
                octet_length(i.content_ref) AS content_bytes,
                left(coalesce(i.metadata ->> 'caption', i.metadata ->> 'title',
                    i.metadata ->> 'name', i.metadata ->> 'alt'), 300) AS caption,
                left(jsonb_pretty(i.metadata), %(most)s) AS metadata,
                encode(i.content_sha256, 'hex') AS sha256, i.embedded_at, e.name AS space,
                s.source, left(s.source_key, 2000) AS source_key, s.row_key, a.name AS attached
            FROM multimodal_items AS i
            JOIN embedding_spaces AS e ON e.id = i.space_id
            LEFT JOIN source_items AS s ON s.id = i.source_id
            LEFT JOIN attached_sources AS a ON s.source = ANY (a.sources)
            WHERE i.id = %(number)s LIMIT 1
            """,
            {"number": number, "most": MOST_TEXT},
        ).fetchone()
    if row is None:
        raise PageError(404, f"There is no item {number}.", "It may have gone, or be another's.")
    modality = modalities.find(row.modality)
    is_text = modality is not None and modality.inline
    return Item(
        id=row.id,
        source_id=row.source_id,
        part=row.part,
        modality=row.modality,
        text=row.content_ref if is_text else None,
        place="" if is_text else redact(row.content_ref, row.content_bytes),
        has_image=not is_text and modality is not None,
        caption=(row.caption or "").strip(),
        metadata=row.metadata or "{}",
        sha256=row.sha256,
        embedded_at=row.embedded_at,
        space=row.space,
        source=redact(row.source or ""),
        source_key=redact(row.source_key or ""),
        row_key=row.row_key,
        attached=row.attached,
    )


def siblings(connection: Connection, found: Item) -> list[tuple[int, int]]:
    """The parts of its source item, itself included: (part, number of the item)."""
    return connection.execute(
        "SELECT part, id FROM multimodal_items WHERE source_id = %s AND modality = %s "
        "ORDER BY part LIMIT %s",
        (found.source_id, found.modality, MOST_PARTS),
    ).fetchall()


def labelled(connection: Connection, number: int, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Which of the labels fits an item how well, best first: zero-shot, their sum is 1."""
    return connection.execute(
        "SELECT label, probability FROM classify_items(%s, template => '{}', items => %s) "
        "ORDER BY rank",
        (list(labels), [number]),
    ).fetchall()


def labels_of(text: str) -> list[str]:
    """Labels as somebody types them, between commas.

    Raises:
        PageError: 400: there are too many.
    """
    labels = list(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if len(labels) > MOST_LABELS:
        raise PageError(400, f"There are {len(labels)} labels; at most {MOST_LABELS} are compared.")
    return labels
