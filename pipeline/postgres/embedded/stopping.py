"""The end of a server: of the one that serves a folder, whoever started it."""

import signal
from collections.abc import Callable
from pathlib import Path

from pipeline.postgres.embedded.home import Home
from pipeline.postgres.embedded.processes import find_postmaster, send_signal, wait_for_exit
from pipeline.postgres.embedded.server_log import failure

_STOP_SECONDS = 300.0  # a fast shutdown writes out every dirty page first


def shut_down(home: Home, data: Path, say: Callable[[str], None]) -> bool:
    """Open transactions are rolled back; whether one ran. The command lock is held.

    Raises:
        EmbeddedServerError: it does not end.
    """
    postmaster = find_postmaster(data)
    if postmaster is None:
        return False
    say(f"stopping PostgreSQL (process {postmaster.pid})")
    send_signal(postmaster, data, signal.SIGINT)
    if not wait_for_exit(postmaster, _STOP_SECONDS):
        raise failure(
            home,
            f"PostgreSQL (process {postmaster.pid}) is still shutting down after "
            f"{_STOP_SECONDS:.0f} s",
        )
    return True
