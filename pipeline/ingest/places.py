"""How the places behave that content is loaded from: which of them are in trouble now."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import TransientRowError
from pipeline.references import place_of

# A load that takes longer says that its place is in trouble. Most take a tenth of it.
SLOW_SECONDS = 1.0
T = TypeVar("T")


class Places:
    """Told of every load; thread-safe.

    A place is in trouble while one of its loads takes long, and from one that took long or failed
    for a reason that may pass until one that went well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loading: dict[str, list[float]] = {}  # when each began, the oldest first
        self._failing: set[str] = set()

    def watching(self, load: Callable[[str], T]) -> Callable[[str], T]:
        """The same function, of whose every load is told here."""

        def watched(reference: str) -> T:
            with self._loading_one(reference):
                return load(reference)

        return watched

    @contextmanager
    def _loading_one(self, reference: str) -> Iterator[None]:
        place = place_of(reference)
        if place is None:
            yield
            return
        began, went_well = self._clock(), True
        with self._lock:
            self._loading.setdefault(place, []).append(began)
        try:
            yield
        except TransientRowError:
            went_well = False
            raise
        finally:
            self._end(place, began, went_well=went_well)

    def in_trouble(self) -> set[str]:
        """Those that are, now."""
        with self._lock:
            late = self._clock() - SLOW_SECONDS
            return self._failing | {p for p, began in self._loading.items() if began[0] < late}

    def forget(self, place: str) -> None:
        """Nothing of it is wanted any more."""
        with self._lock:
            self._failing.discard(place)

    def _end(self, place: str, began: float, *, went_well: bool) -> None:
        with self._lock:
            self._loading[place].remove(began)
            if not self._loading[place]:
                del self._loading[place]
            if went_well and self._clock() - began <= SLOW_SECONDS:
                self._failing.discard(place)
            else:
                self._failing.add(place)
