"""Syncing one attached source, with a bar, and what became of it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import EX_TEMPFAIL, note, progress_bar, say
from pipeline.cli.removing import as_dicts, tell_refused
from pipeline.cli.sql_words import told_as_options

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.settings import Settings
    from pipeline.sources.attached import AttachedSource
    from pipeline.sources.attached_sync import AttachedReport, Difference
    from pipeline.sources.removal import Brake, Refusal


@dataclass(frozen=True, slots=True)
class Followed:
    """What one sync did.

    Attributes:
        moved: objects that were renamed, of a location.
        is_complete: whether all of it was seen.
        problems: objects or rows that were left out, a sentence each.
        differing: where a sync only looked, the rows that are not as they are stored.
    """

    name: str
    added: int
    changed: int
    removed: int
    moved: int = 0
    is_complete: bool = True
    refused: "Sequence[Refusal]" = ()
    problems: Sequence[str] = ()
    differing: int | None = None

    @property
    def has_done(self) -> bool:
        """Whether anything changed, or was to."""
        return any(
            (self.added, self.changed, self.removed, self.moved, self.refused, self.differing)
        )

    @property
    def codes(self) -> list[int]:
        """Of the command: 1 where something was left out, 75 where another listing may be whole."""
        is_left = bool(self.refused) or (self.is_complete and bool(self.problems))
        return [1] * is_left + [EX_TEMPFAIL] * (not self.is_complete)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return shown | {"refused": as_dicts(self.refused)}


def follow(
    connection: "Connection",
    settings: "Settings",
    source: "AttachedSource",
    brake: "Brake",
    *,
    whole: bool = True,
    patience: float | None = None,
) -> Followed:
    """Make source items what the table, folder or prefix says now.

    Args:
        whole: whether all rows are compared, also of a table whose changes a slot tells.
        patience: seconds to wait for somebody else's sync of a folder or prefix.

    Raises:
        LockHeld: it went on for longer.
    """
    from pipeline.sources.attached_sync import LOGICAL, AttachedReport, estimated_rows, sync

    with progress_bar() as bar, told_as_options():
        task = bar.add_task(f"syncing {source.name}", total=None, rate="")

        def progress(count: int) -> None:
            bar.update(task, completed=count)

        if source.is_location:
            return _follow_location(connection, settings, source.name, brake, progress, patience)
        told, compared = AttachedReport(), AttachedReport()
        if source.capture == LOGICAL:
            told = _follow_slot(connection, source.name)
        if whole or source.capture != LOGICAL:
            if source.synced_at is None:  # all rows are new; later nobody knows how many changed
                bar.update(task, total=estimated_rows(connection, source.name))
            schema = settings.database_schema
            compared = sync(connection, source.name, progress=progress, schema=schema)
        _tell_problems(compared)
        return Followed(
            source.name,
            told.added + compared.added,
            told.changed + compared.changed,
            told.removed + compared.removed,
            problems=compared.problems,
        )


def _tell_problems(done: "AttachedReport | Difference") -> None:
    for problem in done.problems:
        note(f"pipeline: {problem}")
    for advice in done.advice:
        note(advice)


def _follow_slot(connection: "Connection", name: str) -> "AttachedReport":
    """What the server's log says of the table, so that it need not be kept any longer."""
    from pipeline.sources import logical
    from pipeline.sources.attached_sync import AttachedReport

    done = logical.follow(connection, name)
    return AttachedReport(done.added, done.changed, done.removed)


def _follow_location(
    connection: "Connection",
    settings: "Settings",
    name: str,
    brake: "Brake",
    progress: Any,
    patience: float | None,
) -> Followed:
    from pipeline.postgres.rights import FOLLOW, require
    from pipeline.sources.locations import sync_location

    require(connection, FOLLOW)
    done = sync_location(connection, name, settings, brake, progress=progress, patience=patience)
    for said in done.notes:
        note(f"{name}: {said}")
    for problem in done.problems:
        note(f"pipeline: {name}: {problem}")
    return Followed(
        name,
        done.added,
        done.changed,
        done.removed,
        done.moved,
        done.is_complete,
        done.refused,
        done.problems,
    )


def look(connection: "Connection", source: "AttachedSource") -> Followed | None:
    """How much a sync would do; None: of a folder or bucket only a sync finds that out."""
    from pipeline.sources.attached_sync import differing

    if source.is_location:
        note(f"{source.name} is listed by a sync alone, not by a dry run")
        return None
    with told_as_options():
        found = differing(connection, source.name)
    _tell_problems(found)
    return Followed(source.name, 0, 0, 0, problems=found.problems, differing=found.rows)


def print_followed(done: Sequence[Followed], *, flush: bool = False) -> None:
    """A line each; what the brake refused on stderr."""
    for one in done:
        if one.differing is not None:
            say(f"{one.name}: {one.differing} rows differ")
            continue
        moved = f"{one.moved} moved, " * bool(one.moved)
        say(f"{one.name}: {one.added} added, {one.changed} changed, {moved}{one.removed} removed")
        tell_refused(one.refused)
        if not one.is_complete:
            note(f"pipeline: {one.name} was not listed as a whole, so nothing was taken for gone")
    if flush:
        sys.stdout.flush()
