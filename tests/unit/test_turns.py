"""Whose row is loaded next."""

import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.ingest import turns as turns_module
from pipeline.ingest.places import SLOW_SECONDS, Places
from pipeline.ingest.turns import Turns
from pipeline.references import place_of
from tests.helpers.processes import wait_until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock: Clock) -> Places:
    return Places(clock)


def failing(places: Places, reference: str, error: Exception | None) -> None:
    """Load it, with this outcome."""

    def load(reference: str) -> None:
        if error is not None:
            raise error

    if error is None:
        places.watching(load)(reference)
    else:
        with pytest.raises(type(error)):
            places.watching(load)(reference)


def test_a_place_is_in_trouble_until_a_load_went_well(places: Places, clock: Clock) -> None:
    for code in ("timeout", "busy", "unreachable"):
        failing(places, "http://h/1", TransientRowError(code, "x"))
        assert places.in_trouble() == {"http://h"}
        failing(places, "/a/file", TransientRowError("timeout", "x"))  # is no place
        failing(places, "http://g/1", None)
        assert places.in_trouble() == {"http://h"}
        failing(places, "http://h/2", PermanentRowError("not_found", "x"))  # quick, and an answer
        assert places.in_trouble() == set()


def test_a_place_is_in_trouble_while_a_load_takes_long(places: Places, clock: Clock) -> None:
    def load(reference: str) -> None:
        assert places.in_trouble() == set()
        clock.now += SLOW_SECONDS + 0.1
        assert places.in_trouble() == {"http://h"}

    places.watching(load)("http://h/1")
    assert places.in_trouble() == {"http://h"}  # it took long
    failing(places, "http://h/1", None)
    assert places.in_trouble() == set()


class Hanging:
    """Tasks that hang until they are let go; knows which have begun."""

    def __init__(self, places: Places, turns: Turns) -> None:
        self.places, self.turns = places, turns
        self.begun: list[str] = []
        self.let_go = threading.Event()

    def submit(self, reference: str) -> None:
        place = place_of(reference)
        assert place is not None
        self.turns.submit(place, lambda: self._load(reference))

    def _load(self, reference: str) -> None:
        def load(reference: str) -> None:
            self.begun.append(reference)
            self.let_go.wait(600)  # longer than anybody waits for it

        self.places.watching(load)(reference)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.begun) >= count, f"{count} of them to begin")
        assert len(self.begun) == count


@pytest.fixture
def make(places: Places) -> Iterator[Callable[[int, int], Hanging]]:
    made: list[Hanging] = []

    def make(threads: int, per_place: int) -> Hanging:
        made.append(Hanging(places, Turns(places, threads, lambda place: per_place)))
        return made[-1]

    yield make
    for hanging in made:
        hanging.let_go.set()
        hanging.turns.close()


def test_places_take_turns(make: Callable[[int, int], Hanging]) -> None:
    tasks = make(4, 2)
    for place in ("a", "b", "c"):
        for number in range(3):
            tasks.submit(f"http://{place}/{number}")
    tasks.wait_for(4)
    # However the first came in, none has more than two, and each has one before any has ended.
    assert {reference.split("/")[2] for reference in tasks.begun} == {"a", "b", "c"}
    assert tasks.turns.held_up() == 0


def test_places_that_hang_leave_threads_for_the_others(
    make: Callable[[int, int], Hanging], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "MOST_THREADS", 12)
    tasks = make(2, 2)
    for number in range(20):  # each has its turn, two at a time, and hangs from then on
        clock.now += SLOW_SECONDS * 2
        tasks.submit(f"http://bad{number}/1")
        if number < 10:
            tasks.wait_for(number + 1)
    wait_until(lambda: len(tasks.begun) == 12, "all threads to be taken")
    assert tasks.turns.held_up() == 10
    tasks.let_go.set()
    tasks.wait_for(20)


def test_what_waits_can_be_cancelled_and_what_runs_cannot(
    make: Callable[[int, int], Hanging],
) -> None:
    tasks = make(1, 1)
    tasks.submit("http://a/1")
    tasks.wait_for(1)
    ended = threading.Event()
    waiting = tasks.turns.submit("http://b", ended.set)
    assert waiting.cancel()
    done = tasks.turns.submit("http://b", lambda: None)
    tasks.let_go.set()
    assert done.result(60) is None
    assert not ended.is_set()


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("http://Host/a?b#c", "http://host"),
        ("http://host:80/a", "http://host"),
        ("https://host:443", "https://host"),
        ("https://host:80/a", "https://host:80"),
        ("https://me:secret@host/a@b", "https://host"),
        ("HTTP:\\\\host\\a", "http://host"),
        ("s3://Bucket/a/b", "s3://bucket"),
        ("http:", "http://"),
        ("/a/b", None),
        ("file:///a", None),
        ("data:,x", None),
        ("ftp://host/a", None),
    ],
)
def test_the_place_of_a_reference(reference: str, place: str | None) -> None:
    assert place_of(reference) == place
