"""Waits that a signal ends.

Python runs a signal's handler in the main thread, between two of its instructions. A signal that
comes just before the main thread begins to wait, or to another thread, interrupts no wait: its
handler runs once the wait is over. So whatever the main thread waits for, it looks up each second.
"""

import threading
import time

LOOK_UP_SECONDS = 1.0


def wait(event: threading.Event, seconds: float | None = None) -> bool:
    """Until the event is set, at most so many seconds; None: however long that takes.

    Returns:
        Whether it is set.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while not event.wait(_step(deadline)):
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return True


def _step(deadline: float | None) -> float:
    if deadline is None:
        return LOOK_UP_SECONDS
    return min(LOOK_UP_SECONDS, max(0.0, deadline - time.monotonic()))
