"""What a run of ingestion did, and where its time went."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

STAGES = ("claim", "load", "embed", "write")


@dataclass
class IngestReport:
    """Rows by what became of them. ``busy`` is seconds of work per stage, over all its threads.

    A row that failed and was done later in the same run counts as done; ``retrying`` are those
    that still wait for another attempt.
    """

    space: str
    done: int = 0
    failed: int = 0
    retrying: int = 0
    items: int = 0
    reused: int = 0
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """The time inside counts as work of that stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.busy[stage] += time.monotonic() - began

    @property
    def rows_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json`` and the log."""
        return {
            "space": self.space,
            "done": self.done,
            "failed": self.failed,
            "retrying": self.retrying,
            "items": self.items,
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "busy_seconds": {stage: round(busy, 3) for stage, busy in self.busy.items()},
        }
