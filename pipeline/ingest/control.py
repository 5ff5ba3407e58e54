"""What the stages of a worker know of each other: whether to stop, whether all is through, and
whether one of them has failed."""

import queue
import threading
from collections.abc import Callable

from pipeline.postgres.reconnect import Stopped
from pipeline.waits import LOOK_UP_SECONDS


class Control:
    """Shared by the stages of one worker.

    Attributes:
        stop: claim no more.
        abort: give up waiting, too.
        drained: nothing is claimed any more, and nothing is in flight.
        error: what ends the worker; the first counts.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.abort = threading.Event()
        self.drained = threading.Event()
        self.error: BaseException | None = None
        self._ended: set[str] = set()
        # Wakes whoever supervises. A SimpleQueue, since ``ask_to_stop`` is called by signal
        # handlers, which may interrupt a thread while it holds the lock of anything else.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ask_to_stop(self) -> None:
        """May be called by a signal handler."""
        self.stop.set()
        self._news.put(None)

    def fail(self, error: BaseException) -> None:
        """End the worker."""
        self.error = self.error or error
        self._news.put(None)

    def guard(self, name: str, stage: Callable[[], None]) -> None:
        """Run a stage to its end; any failure of it ends the worker."""
        try:
            stage()
        except Stopped:
            pass
        except BaseException as exc:
            self.fail(exc)
        finally:
            self._ended.add(name)
            self._news.put(None)

    def is_over(self, stages: set[str]) -> bool:
        """Whether every stage has ended, or one has failed."""
        return self.error is not None or self._ended == stages

    def wait_for_news(self, seconds: float | None) -> None:
        """Until something may have changed: a second at most, so that a signal is seen."""
        most = LOOK_UP_SECONDS if seconds is None else min(LOOK_UP_SECONDS, seconds)
        try:
            self._news.get(timeout=most)
        except queue.Empty:
            return
