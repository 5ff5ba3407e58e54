"""The end of the process where Python's own would wait for threads, or crash with them."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def end_now(code: int) -> NoReturn:
    """Exit without waiting for any thread; what was printed is written.

    Raises:
        OSError, ValueError: it cannot be written, as to a pipe that nobody reads any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def leave_to_no_client(code: int) -> None:
    """End the process where a client of object stores was loaded; else return.

    Its threads are Rust's. One that comes back to Python while that is being taken down is killed
    by Python, which Rust takes for a crash: a command that had said all it had to say ended by
    SIGABRT now and then (of 13 runs one).
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if "obstore" not in sys.modules or not all(thread.daemon for thread in others):
        return
    atexit._run_exitfuncs()
    try:
        end_now(code)
    except (OSError, ValueError):
        return  # Python says so in its own way
