"""Attaching a folder or a prefix: its name, its row, and the source items that it takes over."""

import contextlib
import json
import math
import os
from pathlib import Path

from pipeline.errors import ConfigurationError, RowError
from pipeline.loaders.objects import ObjectLoader
from pipeline.loaders.options import LoadOptions
from pipeline.loaders.places import Place
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.references import STORES, expanded, is_elsewhere, local_path, redact, scheme_of
from pipeline.settings import Settings
from pipeline.sources.folder_files import patterns
from pipeline.sources.locations.location import Attached, Location, attached_locations
from pipeline.sources.media_roots import register_roots
from pipeline.sources.mounts import is_empty
from pipeline.sources.source_items import SOURCE, NewSource, stored_metadata, unusable

LONGEST_NAME = 200  # bytes, as the table has it


def attach_location(connection: Connection, location: Location, settings: Settings) -> str:
    """Register a folder or a prefix as a source; returns its name. Its first sync fills it.

    Source items that ``pipeline add`` made of its files under no source in particular become its
    own, with their vectors.

    Raises:
        ConfigurationError: it cannot be listed, overlaps with one that is attached, or its name is
            taken.
    """
    where = checked(connection, location, settings)
    with connection.transaction():
        # One after the other: who attaches at the same moment may mean what overlaps with it.
        connection.execute("LOCK TABLE attached_sources IN SHARE UPDATE EXCLUSIVE MODE")
        _check_overlap(where, attached_locations(connection))
        name = checked_name(connection, location, where)
        row = connection.execute(
            """
            INSERT INTO attached_sources (name, location, capture, sources, definition)
            VALUES (%s, %s, 'scan', ARRAY[%s], %s) ON CONFLICT (name) DO NOTHING RETURNING id
            """,
            (name, where, name, json.dumps(location.definition())),
        ).fetchone()
        if row is None:  # a table that was attached meanwhile
            raise _is_taken(name, where)
        attached = Attached(row[0], name, where, name, location.definition())
        if attached.folder is not None:
            register_roots(connection, [attached.folder])
        _take_over(connection, attached)
    return name


def checked(connection: Connection, location: Location, settings: Settings) -> str:
    """Where it is, as :func:`checked_place` has it.

    Raises:
        ConfigurationError: it cannot be listed, or overlaps with one that is attached.
    """
    where = checked_place(location.url, settings)
    _check(location)
    _check_overlap(where, attached_locations(connection))
    return where


def checked_name(connection: Connection, location: Location, where: str) -> str:
    """The name that it has or gets.

    Raises:
        ConfigurationError: it cannot be one, or is taken.
    """
    name = location.name or _free_name(connection, where)
    _check_name(connection, name, where)
    return name


def define_anew(connection: Connection, attached: Attached, location: Location) -> None:
    """Give an attached location other metadata or patterns, which the next sync goes by.

    What is not given stays as it was.
    """
    _check(location)
    given = {name: value for name, value in location.definition().items() if value}
    connection.execute(
        "UPDATE attached_sources SET definition = definition || %s::jsonb WHERE id = %s",
        (json.dumps(given), attached.id),
    )


def attached_at(connection: Connection, url: str) -> Attached | None:
    """The attached location that is this one, or that it lies in."""
    below = _normal(url) + "/"
    return next((one for one in attached_locations(connection) if below.startswith(one.base)), None)


def checked_place(url: str, settings: Settings) -> str:
    """As an attached source names it: an absolute path or a URL, without a slash at its end.

    Raises:
        ConfigurationError: it is neither a folder with something in it nor a prefix that can be
            listed.
    """
    if unusable(url):
        raise ConfigurationError(f"{url!a}: the name is not UTF-8; rename it")
    where = _normal(url)
    if scheme_of(url) in STORES:
        _check_prefix(url, where, settings)
    elif is_elsewhere(url):
        raise ConfigurationError(
            f"{redact(url)} cannot be listed; attach a folder, or a prefix as s3://bucket/prefix, "
            "gs:// or az://"
        )
    elif not Path(where).is_dir():
        raise ConfigurationError(f"{where} is no folder")
    elif is_empty(Path(where)):
        raise ConfigurationError(f"{where} is empty, as a disk that is not mounted is")
    return where


def _normal(url: str) -> str:
    if is_elsewhere(url):
        scheme, colon, rest = url.partition(":")
        return (scheme.lower() + colon + rest).rstrip("/")
    return str(local_path(expanded(url)))


def _check_prefix(url: str, where: str, settings: Settings) -> None:
    place = Place.of(where)
    if not place.bucket:
        raise ConfigurationError(f"{redact(url)}: expected {place.scheme}://bucket/prefix")
    with contextlib.closing(ObjectLoader(LoadOptions.of(settings))) as loader:
        try:
            next(loader.pages(where), None)
        except RowError as exc:
            raise ConfigurationError(f"{redact(url)} cannot be listed: {exc.message}") from exc


def _check(location: Location) -> None:
    every = location.every_seconds
    if every is not None and not (math.isfinite(every) and every > 0):
        raise ConfigurationError(f"every {every} seconds: expected a number above 0")
    patterns(location.exclude)
    try:
        stored_metadata(NewSource("", "", "", "", location.definition()))
    except ValueError as exc:
        raise ConfigurationError(f"metadata or patterns: {exc}") from exc


def _check_overlap(where: str, locations: list[Attached]) -> None:
    base = _without_links(where)
    for other in locations:
        others = _without_links(other.base)
        if base == others:
            raise ConfigurationError(f"{where} is attached already, as {other.name}")
        if base.startswith(others) or others.startswith(base):
            raise ConfigurationError(
                f"{where} overlaps with {other.location}, which is attached as {other.name}: what "
                f"is in both would be found twice; to attach it instead: "
                f"pipeline detach {other.name} --keep-items"
            )


def _without_links(where: str) -> str:
    """The same place under its one name: a folder may be reached by several."""
    return (where if is_elsewhere(where) else os.path.realpath(where)).rstrip("/") + "/"


def _free_name(connection: Connection, where: str) -> str:
    """The last part of it, or all of it where others have that name."""
    short = where.rstrip("/").rsplit("/", 1)[-1]
    return short if short and _is_free(connection, short, where) else where


def _check_name(connection: Connection, name: str, where: str) -> None:
    if not name or len(name.encode()) > LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(
            f"{name!a} cannot name a source; give one of at most {LONGEST_NAME} bytes that can "
            "be printed"
        )
    if not _is_free(connection, name, where):
        raise _is_taken(name, where)


def _is_taken(name: str, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is a source {name!r} already, with items that do not lie in {where}; give it "
        "another name"
    )


def _is_free(connection: Connection, name: str, where: str) -> bool:
    """Whether nothing is attached so, and nothing but what lies there is of that source."""
    (free,) = fetch_one(
        connection.execute(
            """
            SELECT NOT EXISTS (SELECT FROM attached_sources AS a
                               WHERE a.name = %(name)s OR %(name)s = ANY (a.sources))
               AND NOT EXISTS (SELECT FROM source_items AS s WHERE s.source = %(name)s
                               AND NOT starts_with(s.source_key, %(base)s))
            """,
            {"name": name, "base": where.rstrip("/") + "/"},
        )
    )
    return bool(free)


def _take_over(connection: Connection, attached: Attached) -> None:
    connection.execute(
        """
        UPDATE source_items AS s
        SET source = %(source)s, row_key = substr(s.source_key, length(%(base)s) + 1)
        WHERE s.source IN (%(unnamed)s, %(source)s) AND s.source_key = s.content_ref
          AND starts_with(s.source_key, %(base)s)
          AND (s.source = %(source)s OR NOT EXISTS (
            SELECT FROM source_items AS o
            WHERE o.source = %(source)s AND o.source_key = s.source_key))
        """,
        {"source": attached.source, "unnamed": SOURCE, "base": attached.base},
    )
