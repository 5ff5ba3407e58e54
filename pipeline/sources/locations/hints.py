"""Keys that somebody names: an event of an object store is a hint that leads to one look."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from psycopg.rows import class_row

from pipeline.errors import PermanentRowError, RowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.objects import ObjectLoader
from pipeline.postgres.connections import Connection
from pipeline.postgres.row_security import check_sees_all_rows
from pipeline.settings import Settings
from pipeline.sources.locations.compare import compare, of
from pipeline.sources.locations.gone import forget_objects
from pipeline.sources.locations.listing import Seen
from pipeline.sources.locations.location import Attached, LocationReport, attached_location
from pipeline.sources.locations.pages import storable
from pipeline.sources.locations.selection import Selection
from pipeline.sources.locations.sync import check_is_there
from pipeline.sources.removal import Brake, Leaving, remove

BATCH = 1_000


def sync_objects(
    connection: Connection, name: str, keys: Iterable[str], settings: Settings
) -> LocationReport:
    """Look at some files or objects of an attached location, each once, and at nothing else.

    The same key again, or one that did not change, costs that look. What was renamed is added and
    removed; the model is not asked for content that has a vector under another name still.

    Args:
        connection: outside a transaction.
        keys: from the location on, or with it.
    """
    check_sees_all_rows(connection)
    attached = attached_location(connection, name)
    check_is_there(attached)
    report = LocationReport()
    selection = Selection(attached, report)
    relative = dict.fromkeys(key.removeprefix(attached.base) for key in keys)
    named = ((key, selection.modality_of(key)) for key in relative)
    meant = ((key, modality) for key, modality in named if modality is not None)
    roots = () if attached.folder is None else (attached.folder,)
    with (
        Loader(LoadOptions.of(settings), roots) as loader,
        ThreadPoolExecutor(settings.load_workers, "stat") as pool,
    ):
        while some := list(islice(meant, BATCH)):
            looks = pool.map(lambda one: _look(loader, attached, *one), some)
            there, gone = _sorted(zip(some, looks, strict=True), attached, report)
            seen = storable(connection, attached, there, report)
            compare(connection, attached, seen, report)
            report.listed += len(seen)
            _remove(connection, attached, gone, settings, report)
    return report


def _look(loader: Loader, attached: Attached, key: str, modality: str) -> Seen | RowError:
    try:
        notes = loader.stat(attached.base + key)
    except RowError as exc:
        return exc
    return Seen(key, modality, notes["size"], notes.get("etag"), notes["mtime"])


def _sorted(
    looks: Iterator[tuple[tuple[str, str], Seen | RowError]],
    attached: Attached,
    report: LocationReport,
) -> tuple[list[Seen], list[str]]:
    there: list[Seen] = []
    gone: list[str] = []
    for (key, _), found in looks:
        if isinstance(found, Seen):
            there.append(found)
        elif isinstance(found, PermanentRowError) and found.code == "not_found":
            gone.append(key)
        else:
            report.fail(f"{attached.base}{key}: {found.message}")
    return there, gone


_LEAVING = """
SELECT s.id AS source_id, s.source, s.content_ref FROM source_items AS s
WHERE s.source = %(source)s
  AND s.source_key IN (SELECT %(base)s || k FROM unnest(%(keys)s::text[]) AS k)
"""


def _remove(
    connection: Connection,
    attached: Attached,
    keys: Sequence[str],
    settings: Settings,
    report: LocationReport,
) -> None:
    with connection.cursor(row_factory=class_row(Leaving)) as cursor:
        leaving = cursor.execute(_LEAVING, of(attached) | {"keys": list(keys)}).fetchall()
    if not leaving:
        return
    if not _answers(attached, settings):
        # A store says the same of an object that is gone and of a bucket that is.
        report.fail(f"{attached.location} cannot be listed, so that nothing was removed")
        return
    removed = remove(connection, leaving, Brake(settings.mass_delete_share))
    report.removed += removed.removed
    report.refused += removed.refused
    if removed.removed:
        forget_objects(connection, attached)


def _answers(attached: Attached, settings: Settings) -> bool:
    """Whether there is something in it."""
    if attached.folder is not None:
        return True
    with contextlib.closing(ObjectLoader(LoadOptions.of(settings))) as loader:
        try:
            return next(loader.pages(attached.location), None) is not None
        except RowError:
            return False
