"""Jobs on their way through the stages, from the claim to the written items. Free of everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.vectors import Vectors

# Under this key of an item's metadata stand the notes of whoever loaded, decoded and cut its
# content; all else there is the source item's own.
NOTES = "_pipeline"
# Under this key of the notes: SHA-256 (hex) of the file that a part with a sum of its own is of.
OF_FILE = "sha256"

Fence = tuple[int, int, int]  # source item, version, attempts


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this worker holds, with the source item as it was at the claim.

    Attributes:
        content_ref: empty where it is too long: then it was not fetched.
        size: of the reference in bytes, as UTF-8.
        most: bytes that it may have.
    """

    space_id: int
    source_id: int
    version: int
    attempts: int
    modality: str
    content_ref: str
    metadata: str  # JSON as the database writes it; only passed on, so never parsed
    size: int = 0
    most: int = 2**63 - 1

    @property
    def is_too_long(self) -> bool:
        return self.size > self.most

    @property
    def held_bytes(self) -> int:
        """What it takes of the memory, about."""
        return len(self.metadata) + (0 if self.is_too_long else self.size)

    @property
    def fence(self) -> Fence:
        """What tells this claim from any other one, also of the same source item."""
        return self.source_id, self.version, self.attempts

    def name(self) -> str:
        """How a log line names the row."""
        return f"source item {self.source_id}"


@dataclass(frozen=True, slots=True)
class EmbeddedItem:
    """One item to be written: a part of a source item with its unit vector (dimensions,)."""

    part: int
    content_ref: str
    metadata: str  # JSON, the source item's own
    notes: Mapping[str, Any]
    content_sha256: bytes
    vector: "Vectors"


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job all of whose parts are embedded."""

    job: ClaimedJob
    items: Sequence[EmbeddedItem]
