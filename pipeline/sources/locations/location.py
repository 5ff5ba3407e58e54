"""What a location is: as somebody attaches it, as the database has it, and what a sync did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from psycopg.rows import class_row

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.references import STORES, scheme_of
from pipeline.sources.removal import Refusal


@dataclass(frozen=True)
class Location:
    """A folder, or a prefix of a bucket, that is to be attached.

    Attributes:
        url: a path, or ``s3://bucket/prefix``, ``gs://`` or ``az://``.
        name: of the attached source; None: what its last folder is called, or all of it where that
            name is taken.
        every_seconds: how often ``pipeline sync --watch`` is to look; None: when it is told to.
        metadata: what each of its source items gets.
        exclude: what to leave out, patterns as in a ``.gitignore``.
    """

    url: str
    name: str | None = None
    every_seconds: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exclude: Sequence[str] = ()

    def definition(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {
            "every_seconds": self.every_seconds,
            "metadata": dict(self.metadata),
            "exclude": list(self.exclude),
        }


@dataclass(frozen=True, slots=True)
class Attached:
    """An attached location, as the database has it.

    Attributes:
        location: an absolute path or a URL, without a slash at its end.
        source: that of its source items.
    """

    id: int
    name: str
    location: str
    source: str
    definition: Mapping[str, Any]

    @property
    def base(self) -> str:
        """What stands before each key in the path or URL of its file or object."""
        return self.location.rstrip("/") + "/"

    @property
    def folder(self) -> Path | None:
        """None: it is a prefix of an object store."""
        return None if scheme_of(self.location) in STORES else Path(self.location)

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.definition.get("metadata") or {}

    @property
    def exclude(self) -> Sequence[str]:
        return self.definition.get("exclude") or ()


@dataclass
class LocationReport:
    """What a sync of a location found and did.

    Attributes:
        listed: files or objects that can be embedded.
        changed: to be loaded again by the next ingest, or described anew.
        moved: renamed; their vectors went with them.
        refused: the source, where more was gone than may go at once; nothing of it was removed.
        is_complete: whether all of it was listed; else nothing was moved or removed.
        problems: what to tell people; some of it does not concern the listing.
        skipped: files that no modality means, are hidden or are left out.
        unread: some of the tables and texts among these.
    """

    listed: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    refused: list[Refusal] = field(default_factory=list)
    is_complete: bool = True
    problems: list[str] = field(default_factory=list)
    skipped: int = 0
    unread: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether ``source_items`` is now what the location says."""
        return self.is_complete and not self.refused and not self.problems

    def __add__(self, other: "LocationReport") -> "LocationReport":
        """Both as one."""
        whole = LocationReport(is_complete=self.is_complete and other.is_complete)
        for name in (one.name for one in fields(self) if one.name != "is_complete"):
            setattr(whole, name, getattr(self, name) + getattr(other, name))
        return whole

    def fail(self, problem: str) -> None:
        """Say why the listing is not whole."""
        self.is_complete = False
        self.problems.append(problem)


_ATTACHED = """
SELECT a.id, a.name, a.location, a.sources[1] AS source, a.definition
FROM attached_sources AS a WHERE a.location IS NOT NULL ORDER BY a.name
"""


def attached_locations(connection: Connection) -> list[Attached]:
    """All of them, by name."""
    with connection.cursor(row_factory=class_row(Attached)) as cursor:
        return cursor.execute(_ATTACHED).fetchall()


def attached_location(connection: Connection, name: str) -> Attached:
    """That of this name.

    Raises:
        ConfigurationError: there is none, or it is a table.
    """
    there = attached_locations(connection)
    for one in there:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in there)
    raise ConfigurationError(
        f"no folder or prefix is attached as {name!r}; "
        + (f"there are: {names}" if names else "nothing is attached: pipeline attach FOLDER")
    )
