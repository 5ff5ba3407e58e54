"""What goes from stage to stage: parts of jobs, and what became of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import RowError
from pipeline.jobs import ClaimedJob, FinishedJob
from pipeline.vectors import Vectors

Result = Vectors | RowError
Failure = tuple[ClaimedJob, RowError]


@dataclass(slots=True)
class PreparedPart:
    """The model's input for one item.

    Not frozen: ``input``, by far the largest of it, is dropped once the model has seen it.

    Attributes:
        notes: for the item's metadata.
        input: the part's content until the encoder has prepared it; None where ``vector`` is known.
    """

    job: ClaimedJob
    part: int
    parts: int
    content_ref: str
    notes: Mapping[str, Any]
    content_sha256: bytes
    input: Any
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage hands to the writer."""

    embedded: Sequence[tuple[PreparedPart, Result]] = ()
    failures: Sequence[Failure] = ()
    released: Sequence[ClaimedJob] = ()
    reused: int = 0

    def size(self) -> int:
        return len(self.embedded) + len(self.failures) + len(self.released)


@dataclass(slots=True)
class Batch:
    """What the writer does in one go."""

    finished: list[FinishedJob] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    released: list[ClaimedJob] = field(default_factory=list)
    reused: int = 0

    def jobs(self) -> list[ClaimedJob]:
        """Whose end is to be written."""
        ended = [finished.job for finished in self.finished] + [job for job, _ in self.failures]
        return ended + self.released

    def extend(self, other: "Batch") -> None:
        """By the rows of the other one."""
        self.finished += other.finished
        self.failures += other.failures
        self.released += other.released

    def divided(self, is_first: Callable[[ClaimedJob], bool]) -> tuple["Batch", "Batch"]:
        """The rows of which that is true, and the others."""
        first, second = Batch(), Batch()
        for done in self.finished:
            (first if is_first(done.job) else second).finished.append(done)
        for failure in self.failures:
            (first if is_first(failure[0]) else second).failures.append(failure)
        for job in self.released:
            (first if is_first(job) else second).released.append(job)
        return first, second
