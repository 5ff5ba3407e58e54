"""A folder and its rows: after ``add --sync`` a row for every file, and for no other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.rows import class_row

from pipeline.errors import ConfigurationError
from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection
from pipeline.references import local_path
from pipeline.sources.files import expand
from pipeline.sources.mounts import is_empty
from pipeline.sources.removal import Brake, Refusal, remove
from pipeline.sources.renames import GoneFile, follow
from pipeline.sources.source_items import AddReport


@dataclass
class FolderReport:
    """What became of the rows whose files are gone."""

    moved: int = 0
    removed: int = 0
    refused: list[Refusal] = field(default_factory=list)


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse what is no folder, and one that may be a disk that is not mounted.

    Raises:
        ConfigurationError: naming it.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder; --sync takes folders alone")
        if is_empty(folder):
            raise ConfigurationError(
                f"{folder} is empty, as a disk that is not mounted is; to remove its rows: "
                f"pipeline remove {folder}"
            )


def remove_gone(
    connection: Connection, folders: Sequence[Path], source: str, brake: Brake
) -> FolderReport:
    """Move the rows of renamed files and remove those of files that are gone, of these folders.

    Args:
        connection: outside a transaction.
        folders: as they were checked by :func:`check_folders`.
        source: whose rows; those of a table name other keys than files, and stay.
    """
    gone = [
        row
        for folder in folders
        for row in _rows_below(connection, local_path(folder), source)
        if not _is_there(Path(row.content_ref))
    ]
    if not gone:
        return FolderReport()
    files = (local_path(file) for file in expand([str(folder) for folder in folders], AddReport()))
    followed = follow(connection, gone, files)
    left = {row.source_id: row.leaving for row in gone if row.source_id not in followed.found}
    removed = remove(connection, list(left.values()), brake)
    return FolderReport(followed.moved, removed.removed, removed.refused)


_BELOW = """
SELECT s.id AS source_id, s.source, s.source_key, s.modality, s.content_ref,
    i.content_sha256 AS sha256,
    CASE WHEN jsonb_typeof(i.metadata #> ARRAY[%(notes)s, 'size']) = 'number'
        THEN (i.metadata #>> ARRAY[%(notes)s, 'size'])::bigint END AS size
FROM source_items AS s
LEFT JOIN multimodal_items AS i
    ON i.source_id = s.id AND i.modality = s.modality AND i.part = 0
WHERE s.source = %(source)s AND s.source_key = s.content_ref
  AND starts_with(s.source_key, rtrim(%(folder)s, '/') || '/')
ORDER BY s.id
"""


def _rows_below(connection: Connection, folder: Path, source: str) -> list[GoneFile]:
    with connection.cursor(row_factory=class_row(GoneFile)) as cursor:
        return cursor.execute(
            _BELOW, {"notes": NOTES, "source": source, "folder": str(folder)}
        ).fetchall()


def _is_there(path: Path) -> bool:
    """Also where that cannot be said."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
