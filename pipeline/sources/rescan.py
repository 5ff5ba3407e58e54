"""Find the content that has changed behind an unchanged reference.

The jobs of such rows are re-opened; the next ingest loads them, and embeds those whose content is
new.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.piecewise import piecewise
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.references import is_data
from pipeline.sources.source_items import reopen

# What identifies a version of an object, as far as its store tells.
IDENTITY = ("etag", "size", "mtime")
PAGE = 500

Stat = Callable[[str], Mapping[str, Any]]


@dataclass
class RescanReport:
    """Counts of stored content. ``gone``: no longer to be had; the next ingest says why."""

    checked: int = 0
    changed: int = 0
    gone: int = 0
    unreachable: int = 0


def rescan(
    connection: Connection,
    stat: Stat,
    *,
    source: str | None = None,
    workers: int = 8,
    progress: Callable[[RescanReport], None] | None = None,
) -> RescanReport:
    """Compare everything stored that was loaded, or that of one source, with what is there now.

    Args:
        stat: from a reference to its etag, size and mtime (``Loader.stat``).
    """
    check_sees_all_rows(connection)
    report = RescanReport()
    with ThreadPoolExecutor(workers, "stat") as pool:
        for page in _pages(connection, source):
            outcomes = pool.map(lambda row: _state(stat, row[1], row[2]), page)
            missed = []
            for (source_id, _, _), state in zip(page, outcomes, strict=True):
                report.checked += 1
                if state in {"changed", "gone"}:
                    missed.append(source_id)
                if state != "same":
                    setattr(report, state, getattr(report, state) + 1)
            piecewise(connection, missed, lambda ids: reopen(connection, ids))
            if progress is not None:
                progress(report)
    return report


def count_loaded(connection: Connection, source: str | None) -> int:
    """How many stored rows a rescan looks at: those whose reference is not the content itself."""
    (count,) = fetch_one(
        connection.execute(
            """
            SELECT count(*)
            FROM source_items AS s
            JOIN known_modalities AS k ON k.name = s.modality AND NOT k.inline
            JOIN multimodal_items AS i
                ON i.source_id = s.id AND i.modality = s.modality AND i.part = 0
            WHERE %(source)s::text IS NULL OR s.source = %(source)s
            """,
            {"source": source},
        )
    )
    return int(count)


def _pages(
    connection: Connection, source: str | None
) -> Iterator[list[tuple[int, str, dict[str, Any]]]]:
    """By key, so that no transaction stays open while objects are asked after."""
    last = 0
    while True:
        page = connection.execute(
            """
            SELECT s.id, s.content_ref, coalesce(i.metadata -> %(notes)s, '{}'::jsonb)
            FROM source_items AS s
            JOIN known_modalities AS k ON k.name = s.modality AND NOT k.inline
            JOIN multimodal_items AS i
                ON i.source_id = s.id AND i.modality = s.modality AND i.part = 0
            WHERE s.id > %(last)s AND (%(source)s::text IS NULL OR s.source = %(source)s)
            ORDER BY s.id LIMIT %(page)s
            """,
            {"notes": NOTES, "last": last, "source": source, "page": PAGE},
        ).fetchall()
        if not page:
            return
        yield page
        last = page[-1][0]


def _state(stat: Stat, content_ref: str, notes: Mapping[str, Any]) -> str:
    try:
        now = stat(content_ref)
    except PermanentRowError:
        return "gone"
    except TransientRowError:
        return "unreachable"
    known = [name for name in IDENTITY if name in now and name in notes]
    if not now and is_data(content_ref):
        return "same"  # the reference is the content
    # A store that tells nothing to compare by: only loading can tell.
    return "same" if known and all(now[n] == notes[n] for n in known) else "changed"
