"""Files and objects that were renamed: the source item goes along, and keeps its vector.

An object is the same where its etag and size are, a file where its SHA-256 is. The source item is
given the new reference, and its job finds the vector by the SHA-256: the model is not asked.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from psycopg import sql
from psycopg.errors import LockNotAvailable, UniqueViolation
from psycopg.rows import class_row

from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection, short_lock_timeout
from pipeline.postgres.piecewise import LOCK_TIMEOUT_MS
from pipeline.sources.locations.compare import of
from pipeline.sources.locations.location import Attached, LocationReport

BATCH = 500
# Pages rather than a cursor that stays open, which no pooler of transactions lets be.
PAGE = 5_000

# What is listed and has no item, and what has a source item and is not listed.
_FOUND = sql.SQL("""
WITH listed AS (
    SELECT l.*, %(base)s || l.key AS reference
    FROM attached_listing_pages AS p
    CROSS JOIN LATERAL unnest(p.keys, p.modalities, p.sizes, p.etags, p.modified)
        AS l (key, modality, size, etag, modified)
    WHERE p.attachment_id = %(attachment)s
), gone AS (
    SELECT s.id, s.source_key, s.modality, o.etag,
        coalesce(o.size, CASE WHEN jsonb_typeof(i.metadata #> ARRAY[%(notes)s, 'size']) = 'number'
            THEN (i.metadata #>> ARRAY[%(notes)s, 'size'])::bigint END) AS size
    FROM source_items AS s
    LEFT JOIN attached_objects AS o
        ON o.attachment_id = %(attachment)s AND %(base)s || o.key = s.source_key
    LEFT JOIN multimodal_items AS i
        ON i.source_id = s.id AND i.modality = s.modality AND i.part = 0
    WHERE s.source = %(source)s AND starts_with(s.source_key, %(base)s)
      AND NOT EXISTS (SELECT FROM listed AS l WHERE l.reference = s.source_key)
), unknown AS (
    SELECT l.* FROM listed AS l
    LEFT JOIN source_items AS s ON s.source = %(source)s AND s.source_key = l.reference
    WHERE l.size IN (SELECT g.size FROM gone AS g) AND NOT EXISTS (
        SELECT FROM multimodal_items AS i WHERE i.source_id = s.id)
)
""")
_OBJECTS = sql.SQL("""
{}
SELECT g.id, g.source_key AS old_key, u.key, u.size, u.etag, u.modified
FROM (
    SELECT *, row_number() OVER (PARTITION BY etag, size, modality
        ORDER BY substring(source_key FROM '[^/]*$'), id) AS n
    FROM gone WHERE etag IS NOT NULL
) AS g
JOIN (
    SELECT *, row_number() OVER (PARTITION BY etag, size, modality
        ORDER BY substring(key FROM '[^/]*$'), key) AS n
    FROM unknown
) AS u USING (etag, size, modality, n)
WHERE %(last)s::bigint IS NULL OR g.id > %(last)s ORDER BY g.id LIMIT %(page)s
""").format(_FOUND)
_FILES = sql.SQL("""
{}
SELECT u.key, u.modality, u.size, u.etag, u.modified FROM unknown AS u
WHERE %(last)s::text IS NULL OR u.key COLLATE "C" > %(last)s
ORDER BY u.key COLLATE "C" LIMIT %(page)s
""").format(_FOUND)
_WITH_CONTENT = """
SELECT s.id, s.source_key FROM multimodal_items AS i
JOIN source_items AS s ON s.id = i.source_id AND s.modality = i.modality
WHERE i.content_sha256 = %(sha256)s AND i.part = 0 AND s.source = %(source)s
  AND s.modality = %(modality)s AND starts_with(s.source_key, %(base)s)
ORDER BY substring(s.source_key FROM '[^/]*$') <> %(name)s, s.id
"""


_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Move:
    """A source item, and the file or object that is its content now."""

    id: int
    old_key: str
    key: str
    size: int
    etag: str | None
    modified: str


@dataclass(frozen=True, slots=True)
class _Unknown:
    key: str
    modality: str
    size: int
    etag: str | None
    modified: str


def follow_renamed(connection: Connection, attached: Attached, report: LocationReport) -> list[int]:
    """Move the source items of what was renamed; those that somebody else has in hand are given
    back, for another time.

    Args:
        connection: outside a transaction; the pages of the whole listing are kept.
    """
    found = _files(connection, attached) if attached.folder else _objects(connection, attached)
    left: list[int] = []
    while moves := list(islice(found, BATCH)):
        others = _move(connection, attached, moves)
        report.moved += len(moves) - len(others)
        left += others
    return left


def _objects(connection: Connection, attached: Attached) -> Iterator[Move]:
    given = of(attached) | {"notes": NOTES, "last": None, "page": PAGE}
    while page := _fetched(connection, Move, _OBJECTS, given):
        yield from page
        given["last"] = page[-1].id


def _files(connection: Connection, attached: Attached) -> Iterator[Move]:
    given = of(attached) | {"notes": NOTES, "last": None, "page": PAGE}
    taken: set[int] = set()
    while page := _fetched(connection, _Unknown, _FILES, given):
        for file in page:
            if (gone := _with_content_of(connection, attached, file, taken)) is not None:
                taken.add(gone[0])
                yield Move(*gone, file.key, file.size, None, file.modified)
        given["last"] = page[-1].key


def _fetched(
    connection: Connection, kind: type[_Row], query: sql.Composed, given: Mapping[str, Any]
) -> list[_Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query, given).fetchall()


def _with_content_of(
    connection: Connection, attached: Attached, file: _Unknown, taken: set[int]
) -> tuple[int, str] | None:
    """The source item, and its key, that is of the same content and whose file is gone."""
    path = Path(attached.base + file.key)
    given = of(attached) | {"modality": file.modality, "name": path.name}
    for source_id, old_key in connection.execute(
        _WITH_CONTENT, given | {"sha256": _sha256(path)}
    ).fetchall():
        if source_id not in taken and not Path(old_key).exists():
            return source_id, old_key
    return None


def _sha256(file: Path) -> bytes | None:
    try:
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").digest()
    except OSError:
        return None


_LOCK = """
SELECT s.id FROM source_items AS s
JOIN unnest(%(ids)s::bigint[], %(old_keys)s::text[]) AS m (id, old_key)
    ON s.id = m.id AND s.source_key = m.old_key
ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
"""
_TAKE_ADDED = """
DELETE FROM source_items AS s
USING unnest(%(ids)s::bigint[], %(keys)s::text[]) AS m (id, key)
WHERE m.id = ANY (%(free)s) AND s.source = %(source)s AND s.source_key = %(base)s || m.key
RETURNING m.id, s.metadata::text
"""
_MOVE = """
UPDATE source_items AS s SET source_key = %(base)s || m.key, content_ref = %(base)s || m.key,
    row_key = m.key,
    metadata = CASE WHEN jsonb_typeof(s.metadata) = 'object' AND jsonb_typeof(n.metadata) = 'object'
        THEN s.metadata || n.metadata ELSE coalesce(n.metadata, s.metadata) END
FROM unnest(%(ids)s::bigint[], %(keys)s::text[]) AS m (id, key)
LEFT JOIN unnest(%(added)s::bigint[], %(metadata)s::jsonb[]) AS n (id, metadata) USING (id)
WHERE s.id = m.id AND m.id = ANY (%(free)s)
"""
_NOTE = """
WITH gone AS (
    DELETE FROM attached_objects AS o USING unnest(%(old_keys)s::text[], %(ids)s::bigint[])
        AS m (old_key, id)
    WHERE o.attachment_id = %(attachment)s AND %(base)s || o.key = m.old_key
      AND m.id = ANY (%(free)s)
)
INSERT INTO attached_objects (attachment_id, key, size, etag, modified_at)
SELECT %(attachment)s, m.key, m.size, m.etag, m.modified
FROM unnest(%(ids)s::bigint[], %(keys)s::text[], %(sizes)s::bigint[], %(etags)s::text[],
    %(modified)s::timestamptz[]) AS m (id, key, size, etag, modified)
WHERE m.id = ANY (%(free)s)
ON CONFLICT (attachment_id, key) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    modified_at = excluded.modified_at
"""


def _move(connection: Connection, attached: Attached, moves: Iterable[Move]) -> list[int]:
    """Those that others have in hand, the others being moved."""
    moves = list(moves)
    given: dict[str, Any] = of(attached) | {
        "ids": [move.id for move in moves],
        "old_keys": [move.old_key for move in moves],
        "keys": [move.key for move in moves],
        "sizes": [move.size for move in moves],
        "etags": [move.etag for move in moves],
        "modified": [move.modified for move in moves],
    }
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            given["free"] = [row[0] for row in connection.execute(_LOCK, given)]
            added = connection.execute(_TAKE_ADDED, given).fetchall()
            given |= {"added": [row[0] for row in added], "metadata": [row[1] for row in added]}
            connection.execute(_MOVE, given)
            connection.execute(_NOTE, given)
    except (LockNotAvailable, UniqueViolation):  # somebody changes one of them at this moment
        if len(moves) == 1:
            return [moves[0].id]
        middle = len(moves) // 2
        halves = (moves[:middle], moves[middle:])
        return [other for some in halves for other in _move(connection, attached, some)]
    free = set(given["free"])
    return [move.id for move in moves if move.id not in free]
