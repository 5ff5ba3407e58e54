"""Commands that begin with their imports done: each a process of its own, forked from one that
imported what commands import and did nothing else.

``import open_clip`` takes seconds of a processor, and the tests run hundreds of commands. What a
process has from its start (``PYTHON...``, ``LD_...``, a terminal, a pipe) needs a real start, which
the tests of those things make.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.helpers.imported"])
# What is read when a command runs, not when Python starts or a library is imported.
_READ_LATE = ("DATABASE_URL", "FAULTS", "PIPELINE_", "PGHOST", "PGPASSWORD", "PGUSER", "AWS_")


def start(
    module: str,
    arguments: Sequence[str],
    given: Mapping[str, str],
    *,
    cwd: Path,
    stdout: Path,
    stderr: Path,
) -> "subprocess.Popen[bytes] | Forked":
    """``python -m MODULE ARGUMENTS`` with nothing to read, and what it writes in two files.

    Args:
        given: environment variables beside those of the tests. Where one of them is read before a
            command runs, or ``TEST_STARTS=whole`` asks for it, Python itself is started.
    """
    environment = {**os.environ, **given}
    is_read_late = all(name.startswith(_READ_LATE) for name in given)
    if is_read_late and os.environ.get("TEST_STARTS") != "whole":
        return Forked(module, arguments, environment, cwd, stdout, stderr)
    with stdout.open("wb") as out, stderr.open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )


class Forked:
    """A running command, as much like :class:`subprocess.Popen` as the tests need."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        stdout: Path,
        stderr: Path,
    ) -> None:
        self.args = [module, *arguments]
        self._process = _context.Process(
            target=_run, args=(module, [*arguments], {**environment}, cwd, stdout, stderr)
        )
        for file in (stdout, stderr):
            file.touch()
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; negative for a signal."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _run(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    cwd: Path,
    stdout: Path,
    stderr: Path,
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = [module, *arguments]
    np.random.seed()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
