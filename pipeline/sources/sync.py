"""Changes of ``source_items`` that no trigger saw, such as those of logical replication."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline import modalities
from pipeline.errors import RowError
from pipeline.loaders.content import Deadline
from pipeline.loaders.data import DataLoader
from pipeline.loaders.options import LoadOptions
from pipeline.modalities.base import ReadOptions
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.piecewise import piecewise
from pipeline.references import is_data
from pipeline.sources.removal import Brake
from pipeline.sources.source_items import reopen

PAGE = 20_000


@dataclass
class SyncReport:
    """Source items whose insert, update or delete was missed, and how many were looked at.

    Attributes:
        refused: of those that are gone, so many at once that what they left was kept.
    """

    checked: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    refused: int = 0

    def __bool__(self) -> bool:
        """Whether there was any."""
        return bool(self.new or self.changed or self.gone)

    def __str__(self) -> str:
        return f"{self.new} new, {self.changed} changed, {self.gone} gone"


def sync(
    connection: Connection,
    *,
    mend: bool = True,
    brake: Brake | None = None,
    progress: Callable[[SyncReport], None] = lambda _: None,
) -> SyncReport:
    """Compare every source item with its jobs and items, in every space.

    Args:
        mend: open the jobs of what is new or changed, and remove what is gone; else only look.
        brake: how much of all source items may be gone at once; None: any.
        progress: called after each page.
    """
    report, all_gone = SyncReport(), set[int]()
    for after, up_to, rows in _ranges(connection):
        found = _missed(connection, after, up_to)
        if mend:
            _reopen(connection, found)
        report.checked += rows
        # Each counts once, whatever the number of spaces.
        new, changed, gone = (
            {source_id for _, source_id in found[change]} for change in ("new", "changed", "gone")
        )
        report.new += len(new - changed)
        report.changed += len(changed)
        all_gone |= gone
        report.gone = len(all_gone)
        progress(report)
    if mend and brake is not None and brake.holds(report.gone, report.checked + report.gone):
        report.refused = report.gone
    elif mend:
        piecewise(connection, sorted(all_gone), lambda ids: _remove(connection, ids))
    return report


# By what happened: spaces and source items.
Missed = dict[str, list[tuple[int, int]]]


def _missed(connection: Connection, after: int, up_to: int) -> Missed:
    found: Missed = defaultdict(list)
    for space_id, source_id, change in connection.execute(
        "SELECT space_id, source_id, change FROM missed_changes(%s, %s)", (after, up_to)
    ).fetchall():
        found[change].append((space_id, source_id))
    perhaps = found.pop("perhaps changed", [])
    changed = _changed(connection, [source_id for _, source_id in perhaps])
    found["changed"] += [pair for pair in perhaps if pair[1] in changed]
    return found


def _reopen(connection: Connection, found: Missed) -> None:
    changed = {source_id for _, source_id in found["changed"]}
    new = {source_id for _, source_id in found["new"]} - changed
    piecewise(connection, sorted(new), lambda ids: reopen(connection, ids))
    piecewise(connection, sorted(changed), lambda ids: reopen(connection, ids, changed=True))


def _remove(connection: Connection, ids: list[int]) -> list[int]:
    """Those whose jobs somebody else has locked."""
    (others,) = fetch_one(connection.execute("SELECT remove_gone(%s::bigint[])", (ids,)))
    return list(others)


def _changed(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those that do not say what their items show, though not letter by letter: a text that was
    cleaned, or content within its reference."""
    rows = connection.execute(
        """
        SELECT s.id, s.modality, s.content_ref, array_agg(i.content_ref ORDER BY i.part),
            array_agg(file_sha256(i.content_sha256, i.metadata) ORDER BY i.part),
            array_agg(window_bound(i.metadata, 'start') ORDER BY i.part),
            array_agg(window_bound(i.metadata, 'end') ORDER BY i.part)
        FROM source_items AS s JOIN multimodal_items AS i
            ON i.source_id = s.id AND i.modality = s.modality
        WHERE s.id = ANY (%s) GROUP BY s.id
        """,
        (list(ids),),
    ).fetchall()
    # What the active space does not have cannot be looked at closer.
    return (set(ids) - {row[0] for row in rows}) | {
        source_id for source_id, *of_it in rows if not _is_shown(*of_it)
    }


def _is_shown(
    modality: str,
    content_ref: str,
    shown: list[str],
    sums: list[bytes],
    starts: list[int | None],
    ends: list[int | None],
) -> bool:
    try:
        if is_data(content_ref):
            data, _ = DataLoader(LoadOptions()).load(content_ref, Deadline(0))
            return hashlib.sha256(data).digest() == sums[0]
        known = modalities.find(modality)
        if known is None or not known.inline:
            return shown[0] == content_ref
        content = content_ref.encode("utf-8", "surrogatepass")
        text = known.decode(content, ReadOptions()).content
    except RowError:
        return False
    if not isinstance(text, str):
        return hashlib.sha256(content).digest() == sums[0]
    if len(shown) == 1:  # not cut, whatever a user wrote where the bounds would stand
        return shown == [text]
    windows = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return shown == windows and ends[-1] == len(text)


def _ranges(connection: Connection) -> Iterator[tuple[int, int, int]]:
    """Of ids, with some :data:`PAGE` source items in each; together they hold every number."""
    after = -(2**63)
    while True:
        count, last = fetch_one(
            connection.execute(
                """
                SELECT count(*), max(id) FROM (
                    SELECT id FROM source_items WHERE id > %s ORDER BY id LIMIT %s) AS page
                """,
                (after, PAGE),
            )
        )
        is_last = count < PAGE
        yield after, 2**63 - 1 if is_last else last, count
        if is_last:
            return
        after = last
