"""What attaching a folder or a prefix would give, without anything being attached."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import RowError
from pipeline.loaders.objects import ObjectLoader
from pipeline.loaders.options import LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.locations.attach import checked, checked_name
from pipeline.sources.locations.listing import Page, pages_of_folder, pages_of_store
from pipeline.sources.locations.location import Attached, Location, LocationReport

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class LocationPreview:
    """What :func:`preview_location` found.

    Attributes:
        source_items: by modality, how many.
        skipped: files or objects that no modality means, are hidden or are left out.
        is_complete: whether all of it could be listed.
        problems: what a sync would tell of it.
        examples: some of the files or objects, from the location.
    """

    name: str
    location: str
    source_items: Mapping[str, int]
    skipped: int
    is_complete: bool
    problems: tuple[str, ...]
    examples: tuple[str, ...]


def preview_location(
    connection: Connection, location: Location, settings: Settings
) -> LocationPreview:
    """List a folder or a prefix as its first sync would; of an object nothing is asked.

    Raises:
        ConfigurationError: as ``attach_location`` does.
    """
    where = checked(connection, location, settings)
    name = checked_name(connection, location, where)
    attached = Attached(0, name, where, name, location.definition())
    report = LocationReport()
    found: Counter[str] = Counter()
    examples: list[str] = []
    with _pages(attached, settings, report) as pages:
        try:
            for page in pages:
                found.update(one.modality for one in page.seen)
                examples += [one.key for one in page.seen[: EXAMPLES - len(examples)]]
        except RowError as exc:
            report.fail(f"{where}: {exc.message}")
    return LocationPreview(
        name,
        where,
        dict(sorted(found.items())),
        report.skipped,
        report.is_complete,
        tuple(report.problems),
        tuple(examples),
    )


@contextlib.contextmanager
def _pages(
    attached: Attached, settings: Settings, report: LocationReport
) -> Iterator[Iterator[Page]]:
    if attached.folder is not None:
        yield pages_of_folder(attached, None, report)
        return
    with contextlib.closing(ObjectLoader(LoadOptions.of(settings))) as loader:
        yield pages_of_store(loader, attached, None, report)
