"""The processes that serve a data folder, proved to be so; nothing else is ever signalled.

A process is ours when all of this holds: it belongs to the owner of the data folder, its
executable is called ``postgres``, and its working directory is the data folder (PostgreSQL
changes into it and stays there). A PID read from ``postmaster.pid`` proves nothing: the machine
may have given that number to somebody else since. So the file is never asked.
"""

import errno
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EmbeddedServerError


@dataclass(frozen=True)
class ServerProcess:
    """One process of the server; ``started`` (clock ticks since boot) tells reused PIDs apart."""

    pid: int
    parent: int
    started: int
    titled: bool  # "postgres: checkpointer": a child; only the postmaster keeps its command line

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        origin = _parent_and_start(self.pid)
        return origin is not None and origin[1] == self.started


def is_running(pid: int) -> bool:
    """Whether some process has this PID and is no zombie."""
    return _parent_and_start(pid) is not None


def server_processes(data: Path) -> list[ServerProcess]:
    """Every process proved to serve ``data``: postmaster, children and orphans of a killed one."""
    try:
        owner = data.stat().st_uid
    except FileNotFoundError:
        return []
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal())
    return [process for pid in pids if (process := _proved(pid, data, owner))]


def find_postmaster(data: Path) -> ServerProcess | None:
    """The process that accepts the connections of ``data``, if there is one."""
    found = [process for process in server_processes(data) if not process.titled]
    pids = {process.pid for process in found}
    # A child keeps its parent's command line for a moment after the fork.
    return next((process for process in found if process.parent not in pids), None)


def send_signal(process: ServerProcess, data: Path, number: signal.Signals) -> bool:
    """Signal ``process`` if it is still proved to serve ``data``; say whether it was.

    The process is pinned by a pidfd first, so its PID cannot change hands in between.
    """
    try:
        pinned = os.pidfd_open(process.pid)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:  # kernels before 5.3, some sandboxes
            return False
        pinned = None
    try:
        proved = _proved(process.pid, data, data.stat().st_uid)
        if proved is None or proved.started != process.started:
            return False
        if pinned is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(pinned, number)
    except ProcessLookupError:
        return False
    except PermissionError as exc:  # a container that keeps CAP_KILL from root
        raise EmbeddedServerError(
            f"process {process.pid} is the embedded PostgreSQL's, but the system does not let us "
            f"signal it; as its user, or with more rights: kill -{number.name} {process.pid}"
        ) from exc
    finally:
        if pinned is not None:
            os.close(pinned)
    return True


def wait_for_exit(process: ServerProcess, seconds: float) -> bool:
    """Whether ``process`` is gone before ``seconds`` have passed."""
    deadline = time.monotonic() + seconds
    while process.alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def as_user(uid: int, gid: int) -> dict[str, Any]:
    """Arguments of ``subprocess`` that make root give up its rights; none for anybody else."""
    if os.geteuid() != 0:
        return {}
    return {"user": uid, "group": gid, "extra_groups": []}


def _proved(pid: int, data: Path, owner: int) -> ServerProcess | None:
    folder = Path(f"/proc/{pid}")
    try:
        holder = folder.stat()
        if holder.st_uid != owner:
            return None
        executable, working = _links(folder, holder)
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    name = executable.removesuffix(" (deleted)").rpartition("/")[2]
    if name != "postgres" or working != str(data):
        return None
    origin = _parent_and_start(pid)
    return origin and ServerProcess(pid, *origin, titled=command.startswith(b"postgres: "))


def _links(folder: Path, holder: os.stat_result) -> tuple[str, str]:
    executable, working = folder / "exe", folder / "cwd"
    try:
        return str(executable.readlink()), str(working.readlink())
    except PermissionError:
        if os.geteuid() != 0:
            raise
    # Root without CAP_SYS_PTRACE, as in Docker: only the process's own user may look.
    shown = subprocess.run(
        ["readlink", executable, working],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **as_user(holder.st_uid, holder.st_gid),
    )
    lines = shown.stdout.splitlines()
    if len(lines) != 2:
        raise PermissionError(executable)
    return lines[0], lines[1]


def _parent_and_start(pid: int) -> tuple[int, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # after "pid (name)": state, parent, ..., 20th: start
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))
