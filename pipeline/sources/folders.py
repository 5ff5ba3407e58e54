"""``add --sync``: a folder is attached, if it is not yet, and synced once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.references import local_path
from pipeline.settings import Settings
from pipeline.sources.locations import (
    Location,
    LocationReport,
    attach_location,
    attached_at,
    define_anew,
    sync_location,
)
from pipeline.sources.mounts import is_empty
from pipeline.sources.removal import Brake


@dataclass(frozen=True)
class Given:
    """What was said of the folders; nothing of it leaves an attached one as it is.

    Attributes:
        source: what they are to be attached as.
        metadata: what their source items get.
        exclude: patterns as in a ``.gitignore``.
    """

    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exclude: Sequence[str] = ()

    @property
    def redefines(self) -> bool:
        return bool(self.metadata or self.exclude)


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse what is no folder, and one that may be a disk that is not mounted.

    Raises:
        ConfigurationError: naming it.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder; --sync takes folders alone")
        if is_empty(folder):
            raise ConfigurationError(
                f"{folder} is empty, as a disk that is not mounted is; to remove its rows: "
                f"pipeline remove {folder}, or where it is attached pipeline detach"
            )


def sync_folders(
    connection: Connection,
    folders: Sequence[Path],
    given: Given,
    settings: Settings,
    brake: Brake,
    progress: Callable[[int], None] | None = None,
) -> LocationReport:
    """Attach each of these folders that is not attached, and sync it; the reports as one.

    Args:
        connection: outside a transaction.
        folders: as they were checked by :func:`check_folders`.

    Raises:
        ConfigurationError: one cannot be attached so.
    """
    names: dict[str, LocationReport] = {}
    notes = []
    for folder in folders:
        name, said = _attached(connection, folder, given, settings)
        notes += said
        if name not in names:
            names[name] = sync_location(connection, name, settings, brake, progress)
    return sum(names.values(), LocationReport(notes=notes))


def _attached(
    connection: Connection, folder: Path, given: Given, settings: Settings
) -> tuple[str, list[str]]:
    """Its name as an attached source, and what to tell of that."""
    location = Location(str(folder), given.source, metadata=given.metadata, exclude=given.exclude)
    there = attached_at(connection, str(folder))
    if there is None:
        name = attach_location(connection, location, settings)
        return name, [f"{folder} is attached as {name}: from now on pipeline sync {name}"]
    if given.source not in {None, there.name}:
        raise ConfigurationError(f"{folder} is attached as {there.name}; leave --source out")
    is_below = there.location != str(local_path(folder))
    if given.redefines and is_below:
        raise ConfigurationError(
            f"{folder} lies in {there.location}, which is attached as {there.name}: its metadata "
            "and patterns are those of the whole"
        )
    if given.redefines:
        define_anew(connection, there, location)
    said = f"{folder} lies in {there.location}, which is synced as a whole"
    return there.name, [said] if is_below else []
