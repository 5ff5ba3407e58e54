"""Syncing one attached source, with a bar, and what became of it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import EX_TEMPFAIL, note, progress_bar, say
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
        differing: where a sync only looked, the rows that are not as they are stored.
    """

    name: str
    added: int
    changed: int
    removed: int
    moved: int = 0
    is_complete: bool = True
    refused: "Sequence[Refusal]" = ()
    differing: int | None = None

    @property
    def has_done(self) -> bool:
        """Whether anything changed, or was to."""
        return any(
            (self.added, self.changed, self.removed, self.moved, self.refused, self.differing)
        )

    @property
    def codes(self) -> list[int]:
        """Of the command: 1 where the brake held, 75 where another listing may be whole."""
        return [1] * bool(self.refused) + [EX_TEMPFAIL] * (not self.is_complete)

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
            return _follow_location(
                connection,
                settings,
                source.name,
                brake,
                lambda report: bar.update(task, completed=report.listed),
            )
        from pipeline.sources.attached_sync import estimated_rows, sync

        # All rows are new at first; of how many changed since nobody knows.
        total = estimated_rows(connection, source.name) if source.synced_at is None else None
        task = bar.add_task(f"syncing {source.name}", total=total, rate="")
        done = sync(
            connection,
            source.name,
            progress=lambda n: bar.update(task, completed=n),
            schema=settings.database_schema,
        )
        return Followed(source.name, **asdict(done))


def _follow_location(
    connection: "Connection", settings: "Settings", name: str, brake: "Brake", progress: Any
) -> Followed:
    from pipeline.sources.locations import sync_location

    done = sync_location(connection, name, settings, brake, progress=progress)
    for problem in done.problems:
        note(f"pipeline: {name}: {problem}")
    return Followed(
        name, done.added, done.changed, done.removed, done.moved, done.is_complete, done.refused
    )


def differing(connection: "Connection", source: "AttachedSource") -> Followed | None:
    """How much a sync would do; None: of a folder or bucket only a sync finds that out."""
    from pipeline.sources.attached_sync import differing_rows

    if source.is_location:
        note(f"{source.name} is listed by a sync alone, not by a dry run")
        return None
    return Followed(source.name, 0, 0, 0, differing=differing_rows(connection, source.name))


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
