"""Syncing one attached source, with a bar, and what became of it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import note, progress_bar, say
from pipeline.cli.removing import as_dicts, tell_refused

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.settings import Settings
    from pipeline.sources.attached import AttachedSource
    from pipeline.sources.removal import Brake, Refusal


@dataclass(frozen=True, slots=True)
class Followed:
    """What one sync did.

    Attributes:
        moved: objects that were renamed, of a location.
        is_complete: whether all of it was seen.
        differing: rows that are not as they are stored, where a sync only looked.
    """

    name: str
    added: int
    changed: int
    removed: int
    moved: int = 0
    is_complete: bool = True
    refused: "Sequence[Refusal]" = ()
    differing: int = 0

    @property
    def has_done(self) -> bool:
        """Whether anything changed, or was to."""
        return any((self.added, self.changed, self.removed, self.moved, self.refused))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return shown | {"refused": as_dicts(self.refused)}


def follow(
    connection: "Connection", settings: "Settings", source: "AttachedSource", brake: "Brake"
) -> Followed:
    """Make source items what the table, folder or prefix says now."""
    with progress_bar() as bar:
        if source.is_location:
            task = bar.add_task(f"listing {source.name}", total=None, rate="")
            return _follow_location(connection, settings, source.name, brake,
                                    lambda n: bar.update(task, completed=n))  # fmt: skip
        from pipeline.sources.attached_sync import estimated_rows, sync

        # All rows are new at first; of how many changed since nobody knows.
        total = estimated_rows(connection, source.name) if source.synced_at is None else None
        task = bar.add_task(f"syncing {source.name}", total=total, rate="")
        done = sync(connection, source.name,
                    progress=lambda n: bar.update(task, completed=n))  # fmt: skip
        return Followed(source.name, **asdict(done))


def _follow_location(
    connection: "Connection", settings: "Settings", name: str, brake: "Brake", progress: Any
) -> Followed:
    from pipeline.sources.locations import sync_location

    done = sync_location(connection, name, settings, brake, progress=progress)
    return Followed(
        name, done.added, done.changed, done.removed, done.moved, done.is_complete, done.refused
    )


def differing(connection: "Connection", source: "AttachedSource") -> Followed:
    """How much a sync would do; of a folder or bucket only a sync finds that out."""
    from pipeline.sources.attached_sync import differing_rows

    rows = 0 if source.is_location else differing_rows(connection, source.name)
    return Followed(source.name, 0, 0, 0, is_complete=not source.is_location, differing=rows)


def print_followed(done: Sequence[Followed], *, flush: bool = False) -> None:
    """A line each; what the brake refused on stderr."""
    for one in done:
        moved = f"{one.moved} moved, " * bool(one.moved)
        differ = f", {one.differing} rows differ" * bool(one.differing)
        say(
            f"{one.name}: {one.added} added, {one.changed} changed, {moved}{one.removed} removed"
            f"{differ}"
        )
        tell_refused(one.refused)
        if not one.is_complete:
            note(f"pipeline: {one.name} was not seen as a whole, so nothing was taken for gone")
    if flush:
        sys.stdout.flush()
