"""One item: what it is and where it comes from."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline import modalities
from pipeline.postgres.connections import Connection
from pipeline.references import name_of, redact

# Characters of a text and of metadata that are shown.
MOST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    source_id: int
    part: int
    modality: str
    content_ref: str
    content_bytes: int
    is_whole: bool
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
    """An item as it is shown.

    Attributes:
        text: its content, where that is text, at most ``MOST_TEXT`` of it.
        is_whole: whether that is all of it.
        place: where it is, where it is no text, without secrets.
        metadata: as indented JSON, at most ``MOST_TEXT`` of it.
        attached: the attached source whose row it is of, which has the key ``row_key``.
    """

    id: int
    source_id: int
    part: int
    modality: str
    text: str | None
    is_whole: bool
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


def item(connection: Connection, number: int) -> Item | None:
    """An item that this login sees, if there is one."""
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        row = cursor.execute(
            """
            SELECT i.id, i.source_id, i.part, i.modality,
                left(i.content_ref, %(most)s) AS content_ref,
                octet_length(i.content_ref) AS content_bytes,
                char_length(i.content_ref) <= %(most)s AS is_whole,
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
        return None
    modality = modalities.find(row.modality)
    is_text = modality is not None and modality.inline
    return Item(
        id=row.id,
        source_id=row.source_id,
        part=row.part,
        modality=row.modality,
        text=row.content_ref if is_text else None,
        is_whole=row.is_whole,
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
