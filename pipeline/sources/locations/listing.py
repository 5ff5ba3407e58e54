"""Listings of locations, in pages, each in an order in which they can go on behind a key."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pipeline.loaders.content import iso
from pipeline.loaders.listed import PAGE, ListedObject
from pipeline.loaders.objects import ObjectLoader
from pipeline.loaders.places import Place
from pipeline.sources.locations.location import Attached, LocationReport
from pipeline.sources.locations.selection import Selection
from pipeline.sources.locations.walk import files_below


@dataclass(frozen=True, slots=True)
class Seen:
    """A file or object that is meant, under its key from the location."""

    key: str
    modality: str
    size: int
    etag: str | None
    modified: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some that follow each other.

    Attributes:
        last_key: the last that was looked at, meant or not.
    """

    last_key: str
    seen: list[Seen]


def pages_of_store(
    loader: ObjectLoader, attached: Attached, after: str | None, report: LocationReport
) -> Iterator[Page]:
    """What is below a prefix; one request a page, and none an object.

    Raises:
        RowError: the store gave no more. What it gave until then is not all there is.
    """
    selection = Selection(attached, report)
    prefix = Place.of(attached.base).key
    behind = None if after is None else prefix + after
    for listed in loader.pages(attached.location, behind):
        named = [_renamed(one, one.key.removeprefix(prefix)) for one in listed]
        yield Page(named[-1].key, list(_meant(named, selection)))


def pages_of_folder(
    attached: Attached, after: str | None, report: LocationReport
) -> Iterator[Page]:
    """What is below a folder. What cannot be read is told, and the listing not complete then."""
    selection = Selection(attached, report)
    files = files_below(attached.base, after, report)
    while keys := list(islice(files, PAGE)):
        meant = ((key, selection.modality_of(key)) for key in keys)
        seen = [_of_file(attached, key, of, report) for key, of in meant if of is not None]
        yield Page(keys[-1], [one for one in seen if one is not None])


def _of_file(attached: Attached, key: str, modality: str, report: LocationReport) -> Seen | None:
    try:
        status = os.stat(attached.base + key)  # noqa: PTH116 (a hundred thousand of them)
    except FileNotFoundError:  # since, or a link to nowhere
        return None
    except OSError as exc:
        report.fail(f"{attached.base}{key}: {exc.strerror}")
        return None
    return Seen(key, modality, status.st_size, None, iso(status.st_mtime))


def _meant(listed: Iterable[ListedObject], selection: Selection) -> Iterator[Seen]:
    for one in listed:
        if (modality := selection.modality_of(one.key)) is not None:
            yield Seen(one.key, modality, one.size, one.etag, one.modified)


def _renamed(one: ListedObject, key: str) -> ListedObject:
    return ListedObject(key, one.size, one.etag, one.modified)
