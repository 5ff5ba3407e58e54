"""One sync of an attached location: list, compare, move, remove."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.errors import ConfigurationError, RowError
from pipeline.loaders.objects import ObjectLoader
from pipeline.loaders.options import LoadOptions
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.locks import exclusively
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.references import printable
from pipeline.settings import Settings
from pipeline.sources.locations import pages
from pipeline.sources.locations.compare import compare
from pipeline.sources.locations.due import known_problems, note_synced
from pipeline.sources.locations.gone import forget_objects, remove_gone
from pipeline.sources.locations.listing import Page, pages_of_folder, pages_of_store
from pipeline.sources.locations.location import Attached, LocationReport, attached_location
from pipeline.sources.locations.moves import follow_renamed
from pipeline.sources.mounts import is_empty
from pipeline.sources.problems import note_problem
from pipeline.sources.removal import Brake

LOCATION_LOCK = 0x6C6F6361

# Told how many files or objects were listed so far.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Listed:
    """A listing that came to its end.

    Attributes:
        pages: that are kept of it.
        left: those of them of which something is left to do.
    """

    pages: int
    left: list[int]


def sync_location(
    connection: Connection,
    name: str,
    settings: Settings,
    brake: Brake,
    progress: Progress | None = None,
    *,
    patience: float | None = None,
) -> LocationReport:
    """Make ``source_items`` what an attached folder or prefix says.

    Syncs of one location take turns: each goes by the pages of its own listing.

    A listing that fails half-way is told in the report, moves and removes nothing, and goes on
    where it was when this is called again.

    Args:
        connection: outside a transaction.
        brake: how much of the source may be removed.
        patience: seconds to wait for somebody else's sync of it; None: as for any lock.

    Raises:
        ConfigurationError: there is no such location, or its folder may be a disk that is not
            mounted.
        LockHeld: somebody else synced it all that time.
    """
    check_sees_all_rows(connection)
    lock = (LOCATION_LOCK << 32) + attached_location(connection, name).id
    with exclusively(connection, lock, table="attached_listing_pages", seconds=patience):
        attached = attached_location(connection, name)  # it may have been detached meanwhile
        return _sync(connection, attached, settings, brake, progress)


def _sync(
    connection: Connection,
    attached: Attached,
    settings: Settings,
    brake: Brake,
    progress: Progress | None,
) -> LocationReport:
    try:
        check_is_there(attached)
    except ConfigurationError as exc:
        note_problem(connection, attached.id, str(exc))
        raise
    report = LocationReport()
    known = known_problems(connection, attached)
    with contextlib.ExitStack() as stack:
        listed = _list(connection, attached, settings, report, progress, stack)
    if listed is not None:
        _settle(connection, attached, listed, brake, report)
        pages.forget(connection, attached)
    if report.is_well:
        note_synced(connection, attached, known)
    else:
        note_problem(connection, attached.id, str((report.problems or report.refused)[0]))
    return report


def check_is_there(attached: Attached) -> None:
    """Refuse a folder that is none, or is empty as a disk that is not mounted is.

    Raises:
        ConfigurationError: naming it.
    """
    folder = attached.folder
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"{folder} is not there; nothing of {attached.name} was changed")
    if folder is not None and is_empty(folder):
        raise ConfigurationError(
            f"{folder} is empty, as a disk that is not mounted is; nothing of {attached.name} was "
            "changed"
        )


def _list(
    connection: Connection,
    attached: Attached,
    settings: Settings,
    report: LocationReport,
    progress: Progress | None,
    stack: contextlib.ExitStack,
) -> Listed | None:
    """Keep the pages of the listing, and see what changed; None: it did not come to its end."""
    begun = pages.begin(connection, attached)
    report.listed = begun.listed
    number, after = begun.pages, begun.after
    left = list(range(number))
    if after is not None:
        shown = printable(attached.base + after)
        report.notes.append(f"the listing goes on behind {shown}")
    # What is new may be what was renamed, which only the whole listing tells.
    adds = not _has_items(connection, attached)
    try:
        for listed in _pages(attached, settings, after, report, stack):
            seen = pages.storable(connection, attached, listed.seen, report)
            page = Page(listed.last_key, seen)
            pages.keep(connection, attached, number, after, page)
            if not compare(connection, attached, seen, report, adds=adds):
                left.append(number)
            number, after = number + 1, page.last_key
            report.listed += len(seen)
            if progress is not None:
                progress(report.listed)
    except RowError as exc:
        report.fail(
            f"the listing of {attached.location} failed after {report.listed}: {exc.message}; "
            "nothing was removed, and the next sync goes on from there"
        )
        return None
    return Listed(number, left)


def _pages(
    attached: Attached,
    settings: Settings,
    after: str | None,
    report: LocationReport,
    stack: contextlib.ExitStack,
) -> Iterator[Page]:
    if attached.folder is not None:
        return pages_of_folder(attached, after, report)
    loader = stack.enter_context(contextlib.closing(ObjectLoader(LoadOptions.of(settings))))
    return pages_of_store(loader, attached, after, report)


def _settle(
    connection: Connection,
    attached: Attached,
    listed: Listed,
    brake: Brake,
    report: LocationReport,
) -> None:
    """What needs the listing to have come to its end."""
    pages.check_are_kept(connection, attached, listed.pages)
    stay = follow_renamed(connection, attached, report) if report.is_complete else []
    for seen in pages.kept_pages(connection, attached, listed.left):
        compare(connection, attached, seen, report)
    if report.is_complete:
        remove_gone(connection, attached, stay, brake, report)
        if report.removed:
            forget_objects(connection, attached)


def _has_items(connection: Connection, attached: Attached) -> bool:
    (has,) = fetch_one(
        connection.execute(
            "SELECT EXISTS (SELECT FROM source_items WHERE source = %s)", (attached.source,)
        )
    )
    return bool(has)
