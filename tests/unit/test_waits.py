"""What the main thread waits for is left for a signal, whichever thread that came to."""

import subprocess
import sys

import pytest

# To another thread: like one that comes just before the wait begins, it interrupts none.
PROGRAM = """
import signal, threading, time
from pipeline.ingest.control import Control
from pipeline.waits import wait

def send():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

event, control = threading.Event(), Control()
signal.signal(signal.SIGTERM, lambda *_: (event.set(), control.stop.set()))
threading.Thread(target=send, daemon=True).start()
{waits}
print("left")
"""


@pytest.mark.parametrize(
    "waits",
    [
        "wait(event)",
        "wait(event, 600)",
        "while not control.stop.is_set(): control.wait_for_news(None)",
        "while not control.stop.is_set(): control.wait_for_news(600)",
    ],
)
def test_a_signal_ends_it(waits: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(waits=waits)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "left\n"


def test_it_says_whether_the_event_is_set() -> None:
    program = (
        "import threading; from pipeline.waits import wait\n"
        "event = threading.Event(); print(wait(event, 0), wait(event, 0.01))\n"
        "event.set(); print(wait(event), wait(event, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "False False\nTrue True\n"
