"""The two locks of an embedded PostgreSQL's folder: one for commands, one for the server.

Both are flock on a file, so the system releases them when their holder is gone, however it went.
"""

import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.home import Home, unusable
from pipeline.postgres.embedded.processes import send_signal, server_processes

_log = logging.getLogger(__name__)

# How long to wait for what a killed server left behind, and what it is sent after that. An orphan
# ends by itself as soon as it looks up from its work; the database recovers from a crash anyway.
_ORPHAN_STEPS = ((5.0, signal.SIGTERM), (5.0, signal.SIGQUIT), (5.0, signal.SIGKILL))
_LAST_SECONDS = 15.0


@contextlib.contextmanager
def command_lock(home: Home, say: Callable[[str], None]) -> Iterator[None]:
    """Held by the one command that starts or stops the server; the others wait for their turn."""
    handle = _open(home, home.command_lock)
    try:
        if not _wait_until(lambda: _locked(handle), 0.5):
            say("waiting for another command that starts or stops PostgreSQL")
            _wait_until(lambda: _locked(handle), None)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def server_lock(home: Home, say: Callable[[str], None]) -> Iterator[int]:
    """For the server's processes to inherit, so it is free again when the last of them is gone.

    A killed postmaster may leave children that still use its shared memory. They are waited for,
    and ended if they do not end: those that are proved to serve this data folder, nothing else.

    Raises:
        EmbeddedServerError: the holder cannot be seen from here, let alone proved ours.
    """
    handle = _open(home, home.server_lock)

    def free() -> bool:
        return _locked(handle) and not server_processes(home.data)

    try:
        for seconds, number in _ORPHAN_STEPS:
            if _wait_until(free, seconds):
                break
            for orphan in server_processes(home.data):
                say(f"ending process {orphan.pid} of a PostgreSQL that was killed ({number.name})")
                _log.warning(
                    "An orphan of a killed server still runs and is signalled.",
                    extra={"pid": orphan.pid, "signal": number.name},
                )
                send_signal(orphan, home.data, number)
        if not _wait_until(free, _LAST_SECONDS):
            raise EmbeddedServerError(
                f"{home.server_lock} is held by something that cannot be seen from here, such as "
                "a server in another container; stop that, or set PIPELINE_HOME to another folder"
            )
        yield handle
    finally:
        os.close(handle)  # what was started meanwhile has its own copy


def _open(home: Home, path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise unusable(home.path, exc) from exc


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], seconds: float | None) -> bool:
    deadline = None if seconds is None else time.monotonic() + seconds
    while not condition():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
