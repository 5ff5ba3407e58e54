"""Segments of a film as its frames go by, each with the frame that stands for it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.modalities.video.shots import (
    CutFinder,
    Signature,
    Small,
    nearly_equal,
    sharpness,
    signature,
)

_SHORTEST = 0.4  # seconds; what is shorter is a flash, and belongs to what follows
_TAIL = 0.25  # of a segment's longest: what is left at the end without a cut and is shorter
_FIRST_SLOT, _SLOTS = 0.125, 8


@dataclass
class Candidate:
    """A frame that may stand for its segment."""

    time: float
    frame: Any
    seen: Signature
    sharpness: float


@dataclass
class Segment:
    """From ``start`` to ``end`` (seconds): the time that its frame stands for.

    The sharpest frame of each slot is kept, at most eight of them: as the segment grows, slots are
    joined by twos, since nobody knows beforehand where its middle will be.
    """

    start: float
    is_cut: bool
    end: float = 0.0
    _slot: float = _FIRST_SLOT
    _kept: dict[int, Candidate] = field(default_factory=dict)

    def offer(self, candidate: Candidate) -> None:
        """Keep it where it is the sharpest of its slot, the first of several that are as sharp."""
        number = int((candidate.time - self.start) / self._slot)
        while number >= _SLOTS:
            self._slot *= 2
            halved: dict[int, Candidate] = {}
            for old, kept in sorted(self._kept.items()):
                _keep(halved, old // 2, kept)
            self._kept, number = halved, int((candidate.time - self.start) / self._slot)
        _keep(self._kept, number, candidate)

    def representative(self) -> Candidate | None:
        """The sharpest frame of its middle half; of all of it where that has none.

        None: every one of its frames is damaged.
        """
        length = self.end - self.start
        within = (self.start + length / 4, self.end - length / 4)
        middle = [c for c in self._kept.values() if within[0] <= c.time <= within[1]]
        found = middle or list(self._kept.values())
        return max(found, key=lambda c: (c.sharpness, -c.time)) if found else None


def _keep(kept: dict[int, Candidate], number: int, candidate: Candidate) -> None:
    if number not in kept or candidate.sharpness > kept[number].sharpness:
        kept[number] = candidate


class Segmenter:
    """Is given frames in the order of their times; gives segments that are over.

    Args:
        longest: seconds after which a segment ends where nothing cuts it before.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._cuts = CutFinder()
        self._open: Segment | None = None
        self._waiting: tuple[Segment, Candidate] | None = None

    def add(
        self, time: float, frame: Any, small: Small, *, is_damaged: bool
    ) -> Iterator[tuple[Segment, Candidate]]:
        """One more frame, shown from ``time`` on. What it completes."""
        seen = signature(small)
        is_cut = self._cuts.is_cut(seen)
        segment = self._open
        if segment is None:
            segment = self._open = Segment(time, is_cut=True)
        length = time - segment.start
        if length >= self._longest or (is_cut and length >= _SHORTEST):
            segment.end = time
            yield from self._close(segment)
            segment = self._open = Segment(time, is_cut)
        if not is_damaged:
            segment.offer(Candidate(time, frame, seen, sharpness(small)))

    def finish(self, end: float) -> Iterator[tuple[Segment, Candidate]]:
        """The last ones, when the film is over."""
        last = self._open
        if last is not None:
            last.end = end
            is_tail = not last.is_cut and end - last.start < _TAIL * self._longest
            if is_tail and self._waiting is not None:
                self._waiting[0].end = end
            else:
                yield from self._close(last)
        if self._waiting is not None:
            yield self._waiting
        self._open = self._waiting = None

    def _close(self, segment: Segment) -> Iterator[tuple[Segment, Candidate]]:
        """Segments wait for the next one: what shows nearly the same makes them longer."""
        chosen = segment.representative()
        waiting = self._waiting
        if waiting is not None and (chosen is None or nearly_equal(waiting[1].seen, chosen.seen)):
            waiting[0].end = segment.end
            return
        if chosen is None:
            return
        if waiting is not None:
            yield waiting
        self._waiting = (segment, chosen)
