"""What a run of ingestion did, and where its time went."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import EX_TEMPFAIL
from pipeline.queue.pauses import Pause
from pipeline.queue.workers import Stage

STAGES = ("claim", "load", "prepare", "embed", "write")


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage of a run.

    Attributes:
        rows_per_second: rows per second in which the stage worked: what it could do alone.
        at_work: the share of the run in which it worked.
        bottleneck: the share of the run in which the others waited for it.
    """

    stage: str
    rows_per_second: float
    at_work: float
    bottleneck: float


@dataclass(frozen=True, slots=True)
class SoFar:
    """What the stages have done until a moment: two of them say what was done in between."""

    moment: float
    at_work: dict[str, float]
    bottleneck: dict[str, int]

    def since(self, before: "SoFar") -> list[Stage]:
        """In the order of the work."""
        seconds = self.moment - before.moment
        looks = sum(self.bottleneck.values()) - sum(before.bottleneck.values())
        return [
            Stage(
                stage,
                at_work=_share(self.at_work[stage] - before.at_work[stage], seconds),
                bottleneck=_share(self.bottleneck[stage] - before.bottleneck[stage], looks),
            )
            for stage in STAGES
        ]


def _share(part: float, whole: float) -> float:
    return round(min(1.0, max(0.0, part / whole)), 3) if whole else 0.0


@dataclass
class IngestReport:
    """Rows by what became of them, and seconds and samples by stage.

    A row that failed and was done later in the same run counts as done; ``retrying`` are those
    that still wait for another attempt. ``reused`` are parts whose vector the space had already.

    Attributes:
        seconds: of the worker; the model was loaded before.
        seconds_indexing: of building the index after a large backlog, 0 where that was not due.
        seconds_measuring: of measuring the recall of what has grown, 0 where nothing had.
        paused: the space's pause, if it was paused when the run ended.
        held: the rows that are due and wait for its end.
        stopped: whether the worker was told to stop.
        tokens: that the server of a remote model counted; 0: there is none.
        busy: seconds of work per stage, over all its threads.
        at_work: seconds in which at least one thread of the stage worked.
        bottleneck: how often, looked at many times a second, the others waited for this stage.
    """

    space: str
    done: int = 0
    failed: int = 0
    retrying: int = 0
    items: int = 0
    reused: int = 0
    tokens: int = 0
    seconds: float = 0.0
    seconds_indexing: float = 0.0
    seconds_measuring: float = 0.0
    paused: Pause | None = None
    held: int = 0
    stopped: bool = False
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    at_work: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bottleneck: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    _began: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    _working: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(STAGES, 0), repr=False, compare=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """The time inside counts as work of that stage."""
        began = time.monotonic()
        with self._lock:
            if not self._working[stage]:
                self._began[stage] = began
            self._working[stage] += 1
        try:
            yield
        finally:
            with self._lock:
                ended = time.monotonic()
                self.busy[stage] += ended - began
                self._working[stage] -= 1
                if not self._working[stage]:
                    self.at_work[stage] += ended - self._began[stage]

    def sample(self, waiting: Mapping[str, int]) -> None:
        """Note which stage the others wait for now: the last that has more than it can take.

        All before it are held up by it, all after it lack work. Where nothing waits, it is the
        first that works at all. Load and prepare share their threads: of the two it is the one
        that has more of them.

        Args:
            waiting: how much waits for each stage.
        """
        behind = [stage for stage in STAGES if waiting.get(stage)]
        order = ("load", "prepare", "embed", "write", "claim")
        working = [stage for stage in order if self._working[stage]]
        if not behind and not working:
            return
        stage = behind[-1] if behind else working[0]
        if stage == "load" and self._working["prepare"] > self._working["load"]:
            stage = "prepare"
        self.bottleneck[stage] += 1

    def so_far(self) -> SoFar:
        """Until now; work that is not done yet counts as far as it has come."""
        with self._lock:
            now = time.monotonic()
            at_work = {
                stage: done + (now - self._began[stage] if self._working[stage] else 0.0)
                for stage, done in self.at_work.items()
            }
            return SoFar(now, at_work, dict(self.bottleneck))

    def stages(self) -> list["StageReport"]:
        """What each stage did, in the order of the work."""
        samples = sum(self.bottleneck.values())
        rows = self.done + self.failed
        return [
            StageReport(
                stage=stage,
                rows_per_second=rows / at_work if (at_work := self.at_work[stage]) else 0.0,
                at_work=min(1.0, self.at_work[stage] / self.seconds) if self.seconds else 0.0,
                bottleneck=self.bottleneck[stage] / samples if samples else 0.0,
            )
            for stage in STAGES
        ]

    @property
    def rows_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """Of a command that ran so: 1 where rows failed for good, 75 where some wait for another
        attempt or for the end of a pause, else, or where it was told to stop, 0."""
        if self.stopped:
            return 0
        if self.failed:
            return 1
        return EX_TEMPFAIL if self.retrying or self.held else 0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json`` and the log."""
        return {
            "space": self.space,
            "done": self.done,
            "failed": self.failed,
            "retrying": self.retrying,
            "items": self.items,
            "reused": self.reused,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "seconds_indexing": round(self.seconds_indexing, 3),
            "seconds_measuring": round(self.seconds_measuring, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "paused": self.paused and self.paused.as_dict(),
            "held": self.held,
            "busy_seconds": {stage: round(busy, 3) for stage, busy in self.busy.items()},
            "stages": {
                of.stage: {
                    "rows_per_second": round(of.rows_per_second, 1),
                    "at_work": round(of.at_work, 3),
                    "bottleneck": round(of.bottleneck, 3),
                }
                for of in self.stages()
            },
        }
