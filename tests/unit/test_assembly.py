"""What waits for the model is bounded in bytes, and the claims go by it."""

import threading

import numpy as np

from pipeline.ingest.in_flight import WaitingInput
from pipeline.ingest.parts import PreparedPart
from pipeline.jobs import ClaimedJob

JOB = ClaimedJob(1, 1, 1, 1, "image", "x.png", "{}")


def parts(count: int, size: int) -> list[PreparedPart]:
    pixels = np.zeros(size, np.uint8) if size else None
    return [PreparedPart(JOB, 0, 1, "x.png", {}, b"", pixels) for _ in range(count)]


def test_room_goes_by_the_size_of_the_last_inputs_and_leaves_the_model_its_batches() -> None:
    waiting = WaitingInput(1000, 4)
    waiting.add(parts(3, 10))
    assert waiting.room() == 100
    waiting.add(parts(2, 200))
    assert waiting.room() == 5
    waiting.add(parts(2, 0))  # known vectors: no input at all
    assert waiting.room() == 5
    waiting.add(parts(1, 900))
    assert waiting.room() == 4


def test_whoever_loads_waits_until_something_is_embedded() -> None:
    waiting, go_on, entered = WaitingInput(1000, 2), threading.Event(), threading.Event()
    first, second = parts(1, 2000), parts(1, 600)
    waiting.add(first)
    waiting.wait_for_room(go_on, 60)  # one part is fewer than a batch
    waiting.add(second)

    def load() -> None:
        waiting.wait_for_room(go_on, 60)
        entered.set()

    thread = threading.Thread(target=load)
    thread.start()
    assert not entered.wait(0.2)
    waiting.drop(first)
    assert entered.wait(30)
    thread.join()
    assert waiting.bytes == 600
    assert first[0].input is None
    assert second[0].input is not None


def test_a_worker_that_stops_waits_no_longer() -> None:
    waiting, stop = WaitingInput(10, 1), threading.Event()
    waiting.add(parts(1, 20))
    stop.set()
    waiting.wait_for_room(stop, 60)
