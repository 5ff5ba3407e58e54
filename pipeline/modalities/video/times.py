"""When the frames of a film are shown, in seconds from its beginning as players count them."""

from fractions import Fraction
from typing import Any

_MICROSECONDS = 1_000_000
_USUAL = 1 / 25  # seconds of a frame where nothing says how long it is
_DIGITS = 3
_LEAST = 0.001


class Times:
    """By each frame's own time, so that a rate which varies does no harm.

    Args:
        begins: of the container, in microseconds; None: with the first frame.
        rate: frames per second that the stream claims.
    """

    def __init__(self, begins: int | None, rate: Fraction | None) -> None:
        self._begins = None if begins is None else begins / _MICROSECONDS
        self._step = min(1.0, float(1 / rate)) if rate and rate > 0 else _USUAL
        self._last: float | None = None
        self.end = 0.0

    def of(self, frame: Any) -> float:
        """Of the next frame: later than the one before, also where the film says otherwise."""
        time = frame.time
        if time is not None:
            if self._begins is None:
                self._begins = time
            time -= self._begins
        earliest = 0.0 if self._last is None else self._last + _LEAST
        if time is None or time < earliest:
            time = 0.0 if self._last is None else self._last + self._step
        self._last = float(time)
        self.end = self._last + self._length(frame)
        return self._last

    def _length(self, frame: Any) -> float:
        duration = frame.duration and frame.time_base and float(frame.duration * frame.time_base)
        return float(duration) if duration and 0 < duration < 60 else self._step

    @staticmethod
    def span(start: float, end: float) -> tuple[float, float]:
        """To the millisecond, and never empty."""
        start, end = round(start, _DIGITS), round(end, _DIGITS)
        return start, max(end, round(start + _LEAST, _DIGITS))
