"""What a worker has in hand: the jobs that it holds, and the input that its model has not seen."""

import math
import threading
from collections.abc import Sequence

from pipeline.ingest.parts import PreparedPart
from pipeline.jobs import ClaimedJob

# So many rows that somebody else has locked hinder no claim; each is a vector in memory.
MOST_SET_ASIDE = 10_000


class InFlight:
    """The jobs that a worker holds: bounds its claims, feeds its heartbeat, knows what is left.

    Attributes:
        bytes: of their references and metadata.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, ClaimedJob] = {}
        self._aside: set[int] = set()  # those that somebody else has locked
        self._changed = threading.Condition()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            for job in jobs:
                before = self._jobs.get(job.source_id)
                self.bytes += job.held_bytes - (before.held_bytes if before is not None else 0)
                self._jobs[job.source_id] = job
            self._aside.difference_update(job.source_id for job in jobs)

    def set_aside(self, jobs: Sequence[ClaimedJob]) -> None:
        """All is done for these but the end, for which somebody else's lock has to go."""
        with self._changed:
            self._aside.update(
                job.source_id for job in jobs if self._jobs.get(job.source_id) is job
            )
            self._changed.notify_all()

    def remove(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            for job in jobs:
                # The same row may have been claimed anew since; that claim stays.
                if self._jobs.get(job.source_id) is job:
                    del self._jobs[job.source_id]
                    self.bytes -= job.held_bytes
                    self._aside.discard(job.source_id)
            self._changed.notify_all()

    def ids(self) -> list[int]:
        with self._changed:
            return sorted(self._jobs)

    def wait_below(self, count: int, seconds: float, most_bytes: float = math.inf) -> bool:
        """Whether fewer than ``count`` jobs are worked on and all that are held have no more than
        ``most_bytes``, waiting up to ``seconds`` for it."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._worked_on() < count and self.bytes <= most_bytes, seconds
            )

    def wait_empty(self, seconds: float) -> bool:
        """Whether nothing is in flight, nothing set aside either, waiting up to ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, seconds)

    def _worked_on(self) -> int:
        return len(self._jobs) - min(len(self._aside), MOST_SET_ASIDE)


class WaitingInput:
    """The model's input that it has not yet seen: what bounds a worker's memory.

    However many jobs are claimed, they are numbers and references until they are loaded, and a
    vector once they are embedded; whoever loads images waits here while too many lie between.

    Args:
        most_bytes: when to wait, in bytes of input.
        least_parts: so many may lie there in any case, so that the model has full batches.
    """

    def __init__(self, most_bytes: int, least_parts: int) -> None:
        self._most_bytes = most_bytes
        self._least_parts = least_parts
        self._parts = 0
        self._usual_bytes = 1
        self._changed = threading.Condition()
        self.bytes = 0

    def add(self, parts: Sequence[PreparedPart]) -> None:
        size = _size(parts)
        with self._changed:
            self._parts += len(parts)
            self.bytes += size
            if size:
                self._usual_bytes = -(-size // len(parts))

    def room(self) -> int:
        """How many parts such as the last ones fit in all: to claim more than that is no use."""
        return max(self._least_parts, self._most_bytes // self._usual_bytes)

    def drop(self, parts: Sequence[PreparedPart]) -> None:
        """The model is done with these: their input goes, whoever still holds the parts."""
        size = _size(parts)
        for part in parts:
            part.input = None
        with self._changed:
            self._parts -= len(parts)
            self.bytes -= size
            self._changed.notify_all()

    def wait_for_room(self, stop: threading.Event, look_seconds: float) -> None:
        """Until there is room, or ``stop`` is set."""
        with self._changed:
            while (
                self.bytes >= self._most_bytes
                and self._parts >= self._least_parts
                and not stop.is_set()
            ):
                self._changed.wait(look_seconds)


def _size(parts: Sequence[PreparedPart]) -> int:
    return sum(part.input.nbytes for part in parts if part.input is not None)
