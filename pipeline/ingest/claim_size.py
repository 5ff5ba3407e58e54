"""How many jobs a worker claims at once: a few seconds' work.

A claim costs the same for one job as for many, and many texts sort into batches of equal length, so
large claims are quick. But what a slow model holds no other worker can do, and it is to be finished
within the grace period (30 s).
"""

import time
from collections.abc import Callable

# One claim is being claimed, one prepared, one written. With two, a fifth of the rows/s is lost.
CLAIMS_IN_FLIGHT = 3
# Of references and metadata in one claim: texts, data: URIs. The memory of what is in flight is a
# multiple of it, and more of them at once would not be quicker.
BYTES_PER_CLAIM = 16 * 2**20
# Work for so long per claim.
SECONDS = 4.0
# The rate is taken over at least so long: what is finished comes in bursts.
WINDOW_SECONDS = 0.2


class ClaimSize:
    """Begins small, then follows the rate at which the worker finishes jobs.

    Attributes:
        jobs: for the next claim.

    Args:
        first: before anything is finished.
        largest: whatever the rate.
    """

    def __init__(
        self, first: int, largest: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._largest = largest
        self._clock = clock
        self.jobs = min(first, largest)
        self._finished = 0
        self._since: float | None = None

    def finished(self, jobs: int) -> None:
        """``jobs`` were finished since the last call. For one thread, the one that writes."""
        now = self._clock()
        if self._since is None:  # the first took the start of every stage with it
            self._since = now
            return
        self._finished += jobs
        seconds = now - self._since
        if seconds >= WINDOW_SECONDS:
            wanted = round(self._finished / seconds * SECONDS)
            # At most twice or half of the last: a pause in the loading is not the rate.
            wanted = max(self.jobs // 2, min(2 * self.jobs, wanted))
            self.jobs = max(1, min(self._largest, wanted))
            self._finished, self._since = 0, now
