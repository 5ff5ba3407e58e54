"""How many jobs a worker claims at once: a few seconds' work, as far as memory allows.

A claim costs the same for one job as for many, and many texts sort into batches of equal length, so
large claims are quick. But what a slow model holds no other worker can do, and it is to be finished
within the grace period (30 s).
"""

import threading
import time
from collections.abc import Callable

# Work for so long per claim; three claims are in flight at a time.
SECONDS = 4.0
# The rate is taken over at least so long: what is finished comes in bursts.
WINDOW_SECONDS = 0.2
# Model inputs in memory, over all claims in flight; a picture is 150 kB at 224 pixels.
INPUT_BYTES = 32 * 2**20
CLAIMS_IN_FLIGHT = 3


class ClaimSize:
    """Begins small, then follows the rate at which the worker finishes jobs.

    Args:
        first: before anything is finished.
        largest: whatever the rate.
        least: whatever the memory, so that the model has full batches.
    """

    def __init__(
        self,
        first: int,
        largest: int,
        least: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._largest = largest
        self._least = least
        self._clock = clock
        self._lock = threading.Lock()
        self._by_rate = min(first, largest)
        self._finished = 0
        self._since: float | None = None
        self._jobs_prepared = 0
        self._bytes_prepared = 0

    @property
    def jobs(self) -> int:
        """Jobs for the next claim."""
        jobs = self._by_rate
        if self._bytes_prepared:
            fitting = INPUT_BYTES * self._jobs_prepared // self._bytes_prepared
            jobs = min(jobs, max(self._least, fitting // CLAIMS_IN_FLIGHT))
        return max(1, jobs)

    @property
    def in_flight(self) -> int:
        """Jobs that the worker may hold: one claim being claimed, one prepared, one written. With
        two, a fifth of the rows/s is lost."""
        return CLAIMS_IN_FLIGHT * self.jobs

    def prepared(self, jobs: int, size: int) -> None:
        """``jobs`` were prepared, and their input takes ``size`` bytes."""
        with self._lock:
            self._jobs_prepared += jobs
            self._bytes_prepared += size

    def finished(self, jobs: int) -> None:
        """``jobs`` were finished since the last call."""
        with self._lock:
            now = self._clock()
            if self._since is None:  # the first took the start of every stage with it
                self._since = now
                return
            self._finished += jobs
            seconds = now - self._since
            if seconds >= WINDOW_SECONDS:
                wanted = round(self._finished / seconds * SECONDS)
                # At most twice or half of the last: a pause in the loading is not the rate.
                wanted = max(self._by_rate // 2, min(2 * self._by_rate, wanted))
                self._by_rate = max(1, min(self._largest, wanted))
                self._finished, self._since = 0, now
