"""Files that were renamed or moved: the row goes with the file, and keeps its vector.

A file is the same where its SHA-256 is. The row is given the new path, and its job finds the vector
by that sum, so that the model is not asked.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.errors import LockNotAvailable, UniqueViolation

from pipeline import modalities
from pipeline.postgres.connections import Connection, short_lock_timeout
from pipeline.postgres.piecewise import LOCK_TIMEOUT_MS
from pipeline.sources.removal import Leaving
from pipeline.sources.source_items import unusable

_AS_IT_WAS = """
SELECT FROM source_items
WHERE id = %(id)s AND source_key = %(key)s AND content_ref = %(key)s FOR UPDATE
"""
_TAKE_ADDED = """
DELETE FROM source_items WHERE source = %(source)s AND source_key = %(path)s
RETURNING metadata::text
"""
_MOVE = """
UPDATE source_items AS s SET source_key = %(path)s, content_ref = %(path)s,
    metadata = CASE WHEN jsonb_typeof(s.metadata) = 'object' AND jsonb_typeof(n.metadata) = 'object'
        THEN s.metadata || n.metadata ELSE coalesce(n.metadata, s.metadata) END
FROM (SELECT %(metadata)s::jsonb) AS n (metadata) WHERE s.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class GoneFile:
    """A row whose content is no longer where it was, and what is known of that content.

    Attributes:
        sha256: of the bytes that its item was made of; None: it has none.
        size: in bytes; None: nobody noted it.
    """

    source_id: int
    source: str
    source_key: str
    modality: str
    content_ref: str
    sha256: bytes | None
    size: int | None

    @property
    def leaving(self) -> Leaving:
        return Leaving(self.source_id, self.source, self.content_ref)

    @property
    def is_named_by_its_path(self) -> bool:
        """Not one of a table, which would say the old path again."""
        return self.source_key == self.content_ref and self.content_ref.startswith("/")


@dataclass
class Followed:
    """What :func:`follow` did: the rows whose files are elsewhere now, and how many of them moved;
    the others were being changed by somebody, and are found again next time."""

    found: set[int] = field(default_factory=set)
    moved: int = 0


def follow(connection: Connection, gone: Sequence[GoneFile], files: Iterable[Path]) -> Followed:
    """Give the rows of files that were renamed their new path.

    A row without an item that stands under the new path, since it was added meanwhile, becomes
    one with it: the older row stays, with the metadata of both.

    Args:
        connection: outside a transaction.
        files: where they may be now.
    """
    places = _new_places(connection, gone, files)
    moves = [_move(connection, row, str(places[row])) for row in places]
    return Followed({row.source_id for row in places}, sum(moves))


def _new_places(
    connection: Connection, gone: Sequence[GoneFile], files: Iterable[Path]
) -> dict[GoneFile, Path]:
    """By row the file with its content, those with the same name first."""
    wanted: dict[bytes, list[GoneFile]] = defaultdict(list)
    for row in gone:
        if row.is_named_by_its_path and row.sha256 is not None and row.size is not None:
            wanted[row.sha256].append(row)
    sizes = {row.size for rows in wanted.values() for row in rows}
    found: dict[GoneFile, Path] = {}
    for file in _of_sizes(files, sizes) if wanted else ():
        rows = wanted.get(_sha256(file) or b"", [])
        rows = [row for row in rows if _may_be(file, row.modality)]
        rows.sort(key=lambda row: (Path(row.content_ref).name != file.name, row.source_id))
        for row in rows:
            if row not in found and not _is_taken(connection, row.source, str(file)):
                found[row] = file
                break
    return found


def _may_be(file: Path, name: str) -> bool:
    modality = modalities.find(name)
    return modality is not None and modality.may_end_in(file.suffix.lower())


def _of_sizes(files: Iterable[Path], sizes: set[int | None]) -> Iterable[Path]:
    for file in files:
        try:
            if file.stat().st_size in sizes and not unusable(str(file)):
                yield file
        except OSError:
            continue


def _sha256(file: Path) -> bytes | None:
    try:
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").digest()
    except OSError:
        return None


def _is_taken(connection: Connection, source: str, path: str) -> bool:
    """Whether a row with an item stands under this path: that one stays what it is."""
    return (
        connection.execute(
            """
            SELECT FROM source_items AS s WHERE s.source = %s AND s.source_key = %s
              AND EXISTS (SELECT FROM multimodal_items AS i WHERE i.source_id = s.id)
            """,
            (source, path),
        ).fetchone()
        is not None
    )


def _move(connection: Connection, row: GoneFile, path: str) -> bool:
    """Whether the row was still as it was found, with nobody at work on it, and is moved now."""
    given = {"id": row.source_id, "key": row.source_key, "source": row.source, "path": path}
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            if connection.execute(_AS_IT_WAS, given).fetchone() is None:
                return False
            added = connection.execute(_TAKE_ADDED, given).fetchone()
            connection.execute(_MOVE, given | {"metadata": added and added[0]})
    except (LockNotAvailable, UniqueViolation):  # somebody adds or changes it at this moment
        return False
    return True
