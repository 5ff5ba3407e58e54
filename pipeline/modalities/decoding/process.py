"""A decoder process as its parent sees it: started, asked, and always ended."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from typing import Any

import numpy as np

from pipeline.errors import (
    ROW_ERROR_CODES,
    ConfigurationError,
    PermanentRowError,
    TransientRowError,
)
from pipeline.modalities.decoding.task import DTYPES, Answer, Array

_START_SECONDS = 60.0  # for a new process to come up on a busy machine
_MAX_ANSWER = 64 * 1024
_KEEP_SHARED = 32 * 2**20  # bytes of shared memory an idle process may keep
_KEPT_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "SYSTEMROOT")


class ProcessGone(Exception):  # noqa: N818 - never reaches a caller of DecoderPool
    """The decoder process died."""


class DecoderProcess:
    """One decoder process and the two things shared with it: a socket and an anonymous file."""

    def __init__(self, module: str, setup: dict[str, Any]) -> None:
        if not sys.executable:
            raise ConfigurationError("no Python interpreter to start decoder processes with")
        self._socket, theirs = socket.socketpair()
        self._shared = _anonymous_file()
        # The path goes along as it is, so that a script, a test or a zip finds the same modules.
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from pipeline.modalities.decoding import child; child.serve({module!r})"
        )
        environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program],
                stdin=theirs.fileno(),
                stdout=self._shared,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
            )
        except OSError as exc:
            self._socket.close()
            os.close(self._shared)
            raise TransientRowError("internal", f"no decoder process starts: {exc}") from exc
        finally:
            theirs.close()
        self.end = weakref.finalize(
            self, _end, self._process, self._socket, self._shared, os.getpid()
        )
        self._rest = b""
        try:
            self._send(setup)
            self._receive(_START_SECONDS, "starting a decoder process")
        except ProcessGone as exc:  # before any content: the installation's fault
            self.end()
            raise TransientRowError(
                "internal",
                f"no decoder process starts ({exc}); see `python -c 'import {module}'`",
            ) from exc
        except BaseException:
            self.end()
            raise

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, timeout: float, answer_bytes: int) -> Answer:
        """Have it decode ``data``. Raises RowError, ProcessGone."""
        _write(self._shared, data)
        self._send({"size": len(data)})
        answer = self._receive(timeout, "decoding")
        code = answer.get("code")
        if code is not None:
            kind = PermanentRowError if ROW_ERROR_CODES[code] else TransientRowError
            raise kind(code, answer["message"])
        arrays = self._arrays(answer["arrays"], answer_bytes)
        if os.fstat(self._shared).st_size > _KEEP_SHARED:
            os.ftruncate(self._shared, 0)
        return Answer(arrays, answer["notes"])

    def _arrays(self, described: list[tuple[list[int], str]], most: int) -> list[Array]:
        """Out of the shared file, where they stand one behind the other."""
        arrays: list[Array] = []
        start = 0
        for shape, dtype in described:
            size = math.prod(shape) * np.dtype(dtype).itemsize if dtype in DTYPES else most
            if min(shape, default=0) < 0 or size < 0 or start + size > most:
                raise ProcessGone("it gave an impossible answer")
            data = _read(self._shared, start, size)
            arrays.append(np.frombuffer(data, dtype).reshape(shape))
            start += size
        return arrays

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as exc:
            raise ProcessGone(self._epitaph()) from exc

    def _receive(self, timeout: float, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._socket.recv(_MAX_ANSWER)
            except TimeoutError:
                raise TransientRowError("timeout", f"{what} took more than {timeout:g} s") from None
            except OSError as exc:
                raise ProcessGone(self._epitaph()) from exc
            if not part or len(self._rest) > _MAX_ANSWER:
                raise ProcessGone(self._epitaph())
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _epitaph(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            return f"signal {-code}" if code < 0 else f"exit status {code}"
        return "no answer"


def _end(process: "subprocess.Popen[bytes]", ours: socket.socket, shared: int, owner: int) -> None:
    ours.close()
    os.close(shared)
    if owner == os.getpid():  # not in a fork of us
        process.kill()
        process.wait()


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pipeline-decoder")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(file: int, data: bytes) -> None:
    view, done = memoryview(data), 0
    while done < len(data):
        done += os.pwrite(file, view[done:], done)


def _read(file: int, start: int, size: int) -> bytearray:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = os.preadv(file, [view[done:]], start + done)
        if count == 0:
            raise ProcessGone("it gave less than it said")
        done += count
    return buffer
