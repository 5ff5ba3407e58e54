"""The first signal stops the work, from outside the main thread; the second ends the process."""

import signal
import subprocess
import sys
import textwrap

# What the programs below have in common: work that ends when it is told to.
BEGINNING = """
import os, signal, sys, threading
from pipeline.cli.signals import STOPPING, StoppedEarly, StopSignals

class Work:
    def __init__(self):
        self.ended = threading.Event()
    def stop(self):
        print("told", flush=True)
        self.ended.set()

me = os.getpid()
"""


def ends(program: str) -> tuple[int, str, str]:
    """Its exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_first_signal_stops_all_work_and_says_so() -> None:
    program = """
    first, later = Work(), Work()
    signals = StopSignals(first, saying=STOPPING)
    signals.tell(later)
    assert not signals.asked
    os.kill(me, signal.SIGTERM)
    first.ended.wait(), later.ended.wait()
    assert signals.asked
    late = Work()
    signals.tell(late)
    assert late.ended.is_set()
    """
    code, out, err = ends(program)
    assert (code, out) == (0, "told\n" * 3)
    assert err == "stopping: finishing what is claimed; a second signal ends at once\n"


def test_the_second_signal_ends_the_process_at_once() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        program = f"""
        work = Work()
        StopSignals(work)
        os.kill(me, signal.SIGTERM)
        work.ended.wait()
        os.kill(me, {int(number)})
        print("went on")
        """
        assert ends(program) == (128 + number, "told\n", "")


def test_a_signal_before_there_is_work_is_raised() -> None:
    program = """
    StopSignals(saying=STOPPING)
    try:
        os.kill(me, signal.SIGINT)
    except StoppedEarly:
        sys.exit(3)
    """
    assert ends(program) == (3, "", "")


def test_a_signal_may_interrupt_whoever_holds_the_lock_that_stop_takes() -> None:
    """As it may in mid-wait for the very Event that stop() sets, or in mid-print."""
    program = """
    work = Work()
    StopSignals(work)
    with work.ended._cond:
        os.kill(me, signal.SIGTERM)
        assert not work.ended.is_set()
    assert work.ended.wait(30)
    """
    assert ends(program) == (0, "told\n", "")


def test_a_closed_stderr_keeps_nothing_from_stopping() -> None:
    program = """
    work = Work()
    StopSignals(work, saying=STOPPING)
    os.close(2)
    os.kill(me, signal.SIGTERM)
    sys.exit(0 if work.ended.wait(30) else 1)
    """
    assert ends(program) == (0, "told\n", "")
