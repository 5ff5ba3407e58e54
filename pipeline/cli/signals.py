"""SIGTERM and SIGINT: the first ends a command's work in good order, the second the process."""

import _thread
import contextlib
import os
import signal
from types import FrameType
from typing import Protocol

from pipeline.cli.output import as_note

# Said at the first signal by commands that take long to end.
STOPPING = "stopping: finishing what is claimed; a second signal ends at once"


class Stoppable(Protocol):
    """Work that ends in good order when another thread tells it to."""

    def stop(self) -> None: ...


class StoppedEarly(BaseException):
    """Raised where the first signal finds the command, while there is no work to stop yet."""


class StopSignals:
    """Listens from now on, for as long as the process lives.

    Attributes:
        asked: whether the first signal has come.
    """

    def __init__(self, *work: Stoppable, saying: str = "") -> None:
        """``saying`` goes to stderr at the first signal."""
        self.asked = False
        self._work = list(work)
        self._saying = as_note(saying) if saying else ""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def tell(self, work: Stoppable) -> None:
        """Stop ``work`` as well; at once, if the signal has come already."""
        self._work.append(work)
        if self.asked:
            work.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
        if not self._work:
            raise StoppedEarly
        # Not here: the signal interrupts the main thread anywhere, also while it holds the lock of
        # an Event that stop() sets, or of the stream that print() writes to. And not a Thread,
        # whose start waits for locks in its turn.
        _thread.start_new_thread(self._stop, ())

    def _stop(self) -> None:
        # Not print(): the process may end at this moment, and would wait for us to let go of
        # stderr. Whoever has closed that is not told.
        with contextlib.suppress(OSError):
            os.write(2, self._saying.encode())
        for work in self._work:
            work.stop()
