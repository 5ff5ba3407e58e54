"""Find what has changed, moved or gone behind unchanged references.

The jobs of rows whose content may be another are re-opened; the next ingest loads them, and embeds
those whose content is new. The rows of files that were renamed move with them. Rows whose content
is gone are removed, but for more than the brake lets go (``removal.py``).

Rows of an attached folder or bucket are its sync's. Those of an attached table say what the table
says: one whose content is gone stays, and its next ingest fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from pipeline import modalities
from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.piecewise import piecewise
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.references import is_data
from pipeline.sources.files import expand
from pipeline.sources.mounts import is_out_of_reach
from pipeline.sources.removal import Brake, Refusal, remove
from pipeline.sources.renames import GoneFile, follow
from pipeline.sources.source_items import AddReport, reopen

# What identifies a version of an object, as far as its store tells.
IDENTITY = ("etag", "size", "mtime")
PAGE = 500

Stat = Callable[[str], Mapping[str, Any]]


@dataclass
class RescanReport:
    """Counts of stored content.

    Attributes:
        changed: or perhaps: the next ingest says.
        unreadable: there, or elsewhere, but not for us; the next ingest says why.
        unreachable: nobody can say now, such as of a disk that is not mounted.
        moved: files that were renamed.
        refused: sources of which too much is gone at once; nothing of them was removed.
    """

    checked: int = 0
    changed: int = 0
    unreadable: int = 0
    unreachable: int = 0
    moved: int = 0
    removed: int = 0
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A row whose reference leads somewhere.

    Attributes:
        notes: its item's.
        is_attached: whether an attached table says that it is there.
    """

    source_id: int
    source: str
    source_key: str
    modality: str
    content_ref: str
    sha256: bytes | None
    notes: dict[str, Any]
    is_attached: bool

    def gone(self) -> GoneFile:
        size = self.notes.get("size")
        return GoneFile(
            self.source_id,
            self.source,
            self.source_key,
            self.modality,
            self.content_ref,
            self.sha256,
            size if isinstance(size, int) else None,
        )


def rescan(
    connection: Connection,
    stat: Stat,
    brake: Brake,
    roots: Sequence[Path] = (),
    *,
    source: str | None = None,
    workers: int = 8,
    progress: Callable[[RescanReport], None] | None = None,
) -> RescanReport:
    """Compare everything that was loaded, or that of one source, with what is there now, but for
    what lies in attached folders and prefixes.

    Of what failed nothing is known to compare by: it is opened again as long as it is there.

    Args:
        stat: from a reference to its etag, size and mtime (``Loader.stat``).
        brake: how much of a source may be removed.
        roots: the folders that file references may point into.
    """
    check_sees_all_rows(connection)
    report, gone = RescanReport(), list[GoneFile]()
    with ThreadPoolExecutor(workers, "stat") as pool:
        for page in _pages(connection, source):
            states = list(pool.map(lambda row: _state(stat, row, roots), page))
            report.checked += len(page)
            for name in ("changed", "unreadable", "unreachable"):
                setattr(report, name, getattr(report, name) + states.count(name))
            report.changed += states.count("replaced")
            _reopen(connection, zip(page, states, strict=True))
            gone += [row.gone() for row, state in zip(page, states, strict=True) if state == "gone"]
            if progress is not None:
                progress(report)
    if gone:
        followed = follow(connection, gone, _files_near(gone, roots))
        report.moved = followed.moved
        left = [row.leaving for row in gone if row.source_id not in followed.found]
        removed = remove(connection, left, brake)
        report.removed, report.refused = removed.removed, removed.refused
    return report


def _reopen(connection: Connection, states: Iterable[tuple[_Stored, str]]) -> None:
    replaced: list[int] = []
    perhaps: list[int] = []
    for row, state in states:
        if state == "replaced":
            replaced.append(row.source_id)
        elif state in {"changed", "unreadable"}:
            perhaps.append(row.source_id)
    piecewise(connection, replaced, lambda ids: reopen(connection, ids, changed=True))
    piecewise(connection, perhaps, lambda ids: reopen(connection, ids))


def _files_near(gone: Sequence[GoneFile], roots: Sequence[Path]) -> Iterator[Path]:
    """What lies in the roots that one of these lay in, but for all that the machine has."""
    paths = [Path(row.content_ref) for row in gone if row.is_named_by_its_path]
    near = [
        root
        for root in dict.fromkeys(roots)
        if root.parent != root and any(path.is_relative_to(root) for path in paths)
    ]
    outer = [root for root in near if not any(root.is_relative_to(o) for o in near if o != root)]
    among = [m for m in modalities.registered() if any(row.modality == m.name for row in gone)]
    return expand([str(root) for root in outer], AddReport(), among=among)


_ROWS = sql.SQL("""
FROM source_items AS s
JOIN known_modalities AS k ON k.name = s.modality AND NOT k.inline
LEFT JOIN multimodal_items AS i
    ON i.source_id = s.id AND i.modality = s.modality AND i.part = 0
WHERE (%(source)s::text IS NULL OR s.source = %(source)s)
  -- What lies in an attached folder or prefix is for its sync, which lists rather than asks.
  AND NOT EXISTS (SELECT FROM attached_sources AS a
                  WHERE a.location IS NOT NULL AND s.source = ANY (a.sources))
  -- What failed may be there now, or another, or be gone for good.
  AND (i.source_id IS NOT NULL OR EXISTS (
      SELECT FROM ingest_jobs AS j JOIN embedding_spaces AS e ON e.id = j.space_id
      WHERE e.state = 'active' AND j.source_id = s.id
        AND j.state = 'failed'))
""")


def count_loaded(connection: Connection, source: str | None) -> int:
    """How many rows a rescan looks at: those loaded or failed whose reference is not the content
    itself."""
    query = sql.SQL("SELECT count(*) {}").format(_ROWS)
    (count,) = fetch_one(connection.execute(query, {"source": source}))
    return int(count)


_PAGE = sql.SQL(
    """
SELECT s.id AS source_id, s.source, s.source_key, s.modality, s.content_ref,
    file_sha256(i.content_sha256, i.metadata) AS sha256,
    coalesce(i.metadata -> %(notes)s, '{{}}'::jsonb) AS notes,
    EXISTS (SELECT FROM attached_sources AS a WHERE s.source = ANY (a.sources)) AS is_attached
{} AND s.id > %(last)s ORDER BY s.id LIMIT %(page)s
"""
).format(_ROWS)


def _pages(connection: Connection, source: str | None) -> Iterator[list[_Stored]]:
    """By key, so that no transaction stays open while objects are asked after."""
    last = -(2**63)
    while True:
        with connection.cursor(row_factory=class_row(_Stored)) as cursor:
            page = cursor.execute(
                _PAGE, {"notes": NOTES, "last": last, "source": source, "page": PAGE}
            ).fetchall()
        if not page:
            return
        yield page
        last = page[-1].source_id


def _state(stat: Stat, row: _Stored, roots: Sequence[Path]) -> str:
    try:
        now = stat(row.content_ref)
    except PermanentRowError as exc:
        if exc.code == "not_found" and is_out_of_reach(row.content_ref, roots):
            return "unreachable"
        return "gone" if exc.code == "not_found" and not row.is_attached else "unreadable"
    except TransientRowError:
        return "unreachable"
    if not now and is_data(row.content_ref):
        return "same"  # the reference is the content
    known = [name for name in IDENTITY if name in now and name in row.notes]
    if known and all(now[name] == row.notes[name] for name in known):
        return "same"
    # Of these only a size tells for sure: a file is touched, a store gives another etag.
    if "size" in known and now["size"] != row.notes["size"]:
        return "replaced"
    # A store that tells nothing to compare by: only loading can tell.
    return "changed"
