"""Threads that load from many places by turns: one in trouble holds up its own rows only."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.ingest.places import Places

# How often whoever waits looks whether a place has come into trouble.
LOOK_SECONDS = 0.2
# Loads at once, those that hang included; a thread that waits costs some 50 kB.
MOST_THREADS = 64

Work = Callable[[], None]


class Turns:
    """Begins tasks in the order of their places, one of each in turn.

    At most ``threads`` run at a time, not counting those of places in trouble, which so take
    nothing from the others; at most ``per_place(place)`` of one place.

    Args:
        places: knows which of them are in trouble.
    """

    def __init__(self, places: Places, threads: int, per_place: Callable[[str], int]) -> None:
        self._places = places
        self._threads = threads
        self._per_place = per_place
        self._most = max(MOST_THREADS, 2 * threads)
        self._pool = ThreadPoolExecutor(self._most, "load from elsewhere")
        self._waiting: dict[str, deque[tuple[Future[None], Work]]] = {}  # whose turn is next, first
        self._running: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        self._begins: threading.Thread | None = None

    def submit(self, place: str, work: Work) -> Future[None]:
        """Do this when its turn comes; the future can be cancelled until then."""
        future: Future[None] = Future()
        with self._changed:
            if self._begins is None:
                self._begins = threading.Thread(
                    target=self._begin_in_turn, name="turns", daemon=True
                )
                self._begins.start()
            self._waiting.setdefault(place, deque()).append((future, work))
            self._changed.notify_all()
        return future

    def held_up(self) -> int:
        """How many tasks wait for places in trouble, or run there."""
        with self._changed:
            return sum(
                len(self._waiting.get(place, ())) + self._running[place]
                for place in self._places.in_trouble()
            )

    def close(self) -> None:
        """Begin nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin_in_turn(self) -> None:
        with self._changed:
            while not self._closed:
                place = self._next()
                if place is None:
                    self._changed.wait(LOOK_SECONDS if self._waiting else None)
                else:
                    self._begin(place)

    def _next(self) -> str | None:
        """The place whose turn it is, of those from which one more may be loaded."""
        running, in_trouble = self._running.total(), self._places.in_trouble()
        stuck = sum(self._running[place] for place in in_trouble)
        # However many are in trouble, there are threads left for the others.
        may_begin = {
            True: stuck < self._most - self._threads,
            False: running - stuck < self._threads,
        }
        for place in self._waiting if running < self._most else ():
            if self._running[place] < self._per_place(place) and may_begin[place in in_trouble]:
                return place
        return None

    def _begin(self, place: str) -> None:
        tasks = self._waiting.pop(place)
        future, work = tasks.popleft()
        if tasks:
            self._waiting[place] = tasks  # last in the turn
        if future.set_running_or_notify_cancel():
            self._running[place] += 1
            self._pool.submit(self._run, place, future, work)

    def _run(self, place: str, future: Future[None], work: Work) -> None:
        try:
            work()
        finally:
            with self._changed:
                self._running[place] -= 1
                if not self._running[place]:
                    del self._running[place]
                    if place not in self._waiting:
                        self._places.forget(place)
                self._changed.notify_all()
            future.set_result(None)
