"""What a store says of an object in a listing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

# What every store gives at once: a request.
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object or a file, without its content.

    Attributes:
        key: the whole key in its bucket; of a file, its path from the folder that was listed.
        size: in bytes.
        etag: its version, as the store calls it; None: it calls it nothing.
        modified: when it was changed last, in ISO 8601 and UTC, as the notes of an item have it.
    """

    key: str
    size: int
    etag: str | None
    modified: str

    @classmethod
    def of(cls, meta: Mapping[str, Any], notes: Mapping[str, Any]) -> Self:
        """By what the store says, and that as the loader notes it of an item."""
        return cls(str(meta["path"]), notes["size"], notes.get("etag"), notes["mtime"])
