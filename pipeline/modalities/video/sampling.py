"""Frames at even times, for an encoder that sees several of a segment at once."""

from collections.abc import Callable
from typing import Any

# So many times the frames that a segment gives are held before every second one is let go: nobody
# knows beforehand how long a segment will be.
_HELD = 4


class Sampler:
    """Is offered frames in the order of their times; gives those of a segment when it is over.

    Args:
        per_second: frames that are wanted; 0: none, the sampler does nothing.
        most: of a segment.
    """

    def __init__(self, per_second: float, most: int) -> None:
        self._every = 1 / per_second if per_second else 0.0
        self._step = self._every
        self._most = most
        self._due = 0.0
        self._taken: list[tuple[float, Any]] = []

    def offer(self, time: float, show: Callable[[], Any]) -> None:
        """Take the frame shown from ``time`` (seconds) on, if one is due."""
        if not self._every or (self._taken and time < self._due):
            return
        self._taken.append((time, show()))
        self._due = time + self._step
        if len(self._taken) > _HELD * self._most:
            self._taken = self._taken[::2]
            self._step *= 2

    def until(self, end: float) -> list[Any]:
        """Those before ``end`` (seconds), at most ``most`` at even distances; they are let go."""
        own = [image for time, image in self._taken if time < end]
        self._taken = [(time, image) for time, image in self._taken if time >= end]
        if not self._taken:
            self._step = self._every
        if len(own) > self._most:
            last = len(own) - 1
            own = [own[round(n * last / max(self._most - 1, 1))] for n in range(self._most)]
        return own
