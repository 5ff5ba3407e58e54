"""Between the stages: the jobs in hand, what became of each part, and parts made whole again."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.errors import RowError
from pipeline.ingest.intake import PreparedPart
from pipeline.queue.claims import ClaimedJob
from pipeline.spaces.items import EmbeddedItem, FinishedJob

Result = npt.NDArray[np.float32] | RowError


class InFlight:
    """The jobs that a worker holds: bounds its claims, feeds its heartbeat, knows what is left."""

    def __init__(self) -> None:
        self._jobs: dict[int, ClaimedJob] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            self._jobs.update((job.source_id, job) for job in jobs)

    def remove(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            for job in jobs:
                # The same row may have been claimed anew since; that claim stays.
                if self._jobs.get(job.source_id) is job:
                    del self._jobs[job.source_id]
            self._changed.notify_all()

    def ids(self) -> list[int]:
        with self._changed:
            return sorted(self._jobs)

    def wait_below(self, count: int, seconds: float) -> bool:
        """Whether fewer than ``count`` jobs are in flight, waiting up to ``seconds`` for it."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._jobs) < count, seconds)


class WaitingInput:
    """The model's input that it has not yet seen: what bounds a worker's memory.

    However many jobs are claimed, they are numbers and references until they are loaded, and a
    vector once they are embedded; whoever loads pictures waits here while too many lie between.

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage hands to the writer."""

    embedded: Sequence[tuple[PreparedPart, Result]] = ()
    failures: Sequence[tuple[ClaimedJob, RowError]] = ()
    released: Sequence[ClaimedJob] = ()
    reused: int = 0

    def size(self) -> int:
        return len(self.embedded) + len(self.failures) + len(self.released)


@dataclass(slots=True)
class Batch:
    """What the writer does in one go."""

    finished: list[FinishedJob] = field(default_factory=list)
    failures: list[tuple[ClaimedJob, RowError]] = field(default_factory=list)
    released: list[ClaimedJob] = field(default_factory=list)
    reused: int = 0


class Assembly:
    """Puts parts together until a job is whole. One bad part fails its job, once."""

    def __init__(self) -> None:
        # By claim, not by row: a row that changed or lapsed may be in hand twice.
        self._results: dict[tuple[int, int, int], dict[int, tuple[PreparedPart, Result]]] = {}

    def take(self, outcomes: Sequence[Outcome]) -> Batch:
        """The jobs that are complete with these outcomes; the others wait for their parts."""
        batch = Batch()
        for outcome in outcomes:
            batch.failures.extend(outcome.failures)
            batch.released.extend(outcome.released)
            batch.reused += outcome.reused
            for part, result in outcome.embedded:
                if part.parts == 1:  # nearly always
                    self._complete(part.job, [(part, result)], batch)
                    continue
                claim = (part.job.source_id, part.job.version, part.job.attempts)
                results = self._results.setdefault(claim, {})
                results[part.part] = (part, result)
                if len(results) == part.parts:
                    del self._results[claim]
                    self._complete(part.job, [results[n] for n in sorted(results)], batch)
        return batch

    @staticmethod
    def _complete(
        job: ClaimedJob, results: Sequence[tuple[PreparedPart, Result]], batch: Batch
    ) -> None:
        items: list[EmbeddedItem] = []
        for part, result in results:
            if isinstance(result, RowError):
                batch.failures.append((job, result))
                return
            items.append(
                EmbeddedItem(
                    part.part,
                    part.content_ref,
                    job.metadata,
                    part.found,
                    part.content_sha256,
                    result,
                )
            )
        batch.finished.append(FinishedJob(job, items))
