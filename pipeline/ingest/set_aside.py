"""What could not be written, since somebody else has the row locked: again a little later."""

import time
from collections.abc import Callable, Mapping, Sequence

from pipeline.ingest.parts import Batch
from pipeline.jobs import ClaimedJob, Fence

# Seconds between two looks, doubling: a lock is mostly gone in moments, and one that stays does not
# go unseen for long when it goes.
FIRST_PAUSE, LARGEST_PAUSE = 0.05, 0.4

Look = Callable[[Sequence[ClaimedJob]], Mapping[Fence, bool]]


class SetAside:
    """For one thread, the one that writes.

    Args:
        look: which of these jobs are still this worker's, and whether somebody has them locked.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._batch = Batch()
        self._pause = FIRST_PAUSE
        self._next = 0.0

    def add(self, batch: Batch) -> None:
        """Wait with these for the locks on their rows to go."""
        self._batch.extend(batch)
        self._pause = FIRST_PAUSE
        self._next = time.monotonic() + self._pause

    def seconds_left(self) -> float | None:
        """Until it is time to look again; None where nothing waits."""
        return max(0.0, self._next - time.monotonic()) if self._batch.jobs() else None

    def due(self) -> Batch:
        """What nobody has locked any more, or is no longer ours; nothing before it is time."""
        if self.seconds_left() != 0.0:
            return Batch()
        locked = {fence for fence, locked in self._look(self._batch.jobs()).items() if locked}
        due, self._batch = self._batch.divided(lambda job: job.fence not in locked)
        self._pause = min(2 * self._pause, LARGEST_PAUSE)
        self._next = time.monotonic() + self._pause
        return due
