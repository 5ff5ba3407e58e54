"""What a loader gives back, and the two guards every loader shares: the deadline and the cap."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import PermanentRowError, TransientRowError


@dataclass(frozen=True)
class LoadedContent:
    """The bytes behind a reference.

    ``notes`` hold what is known of ``etag``, ``size``, ``mtime`` (ISO 8601, UTC) and
    ``content_type``, and no secret: they go into the item's ``metadata``.
    """

    data: bytes = field(repr=False)
    sha256: bytes
    notes: Mapping[str, Any]


class Deadline:
    """A moment by which one reference must be loaded, however many steps that takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            TransientRowError: ``timeout`` when there are none.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> TransientRowError:
        return TransientRowError("timeout", f"loading took more than {self.seconds:g} s")


def too_large(size: int | None, limit: int) -> PermanentRowError:
    found = f"{size:,} bytes" if size is not None else "more bytes"
    return PermanentRowError("too_large", f"{found}; expected at most {limit:,} bytes")


def iso(seconds: float) -> str:
    """A POSIX time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
