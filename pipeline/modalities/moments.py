"""Where in a film, a sound or a document a part is, by its notes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 1e9  # seconds; as the view item_moments has it


@dataclass(frozen=True, slots=True)
class Moment:
    """A page, from 1, or a span of seconds, ``end`` the larger."""

    page: int | None = None
    start: float | None = None
    end: float | None = None

    def __str__(self) -> str:
        """Such as ``page 3`` or ``1:02:03 to 1:02:09``."""
        if self.start is None or self.end is None:
            return f"page {self.page}"
        return f"{_clock(self.start)} to {_clock(self.end)}"


def moment_of(notes: Mapping[str, Any]) -> Moment | None:
    """That of an item with these notes of the intake; None: it is the whole of something.

    They come from metadata, which may hold anything, whoever wrote it: what is no such number is
    none.
    """
    page, start, end = (_number(notes.get(name)) for name in ("page", "start", "end"))
    if start is not None and end is not None and 0 <= start < end < _LONGEST:
        return Moment(start=start, end=end)
    if page is not None and 1 <= page < 2**31 and page == int(page):
        return Moment(page=int(page))
    return None


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _clock(seconds: float) -> str:
    """As players show it; a second that has begun is not over."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
