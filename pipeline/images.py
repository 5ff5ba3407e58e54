"""Bytes -> the RGB picture a person would see; no file can take the worker down.

Pictures are decoded in a few small processes that are kept and reused: a crash, a hang or a
memory bomb in a decoder costs one row, and the process is replaced. What "the picture a person
would see" means is in ``rendering.py`` and ``colours.py``.
"""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.decoder import Prepare
from pipeline.errors import (
    ROW_ERROR_CODES,
    ConfigurationError,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.settings import Settings

_START_SECONDS = 60.0  # for a new process to come up on a busy machine
_MAX_ANSWER = 64 * 1024
_KEEP_SHARED = 32 * 2**20  # bytes of shared memory an idle process may keep
_KEPT_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "SYSTEMROOT")


@dataclass(frozen=True)
class PreparedPicture:
    """``image`` is RGB and upright; ``notes`` say what the file held and what was done to it."""

    image: Image.Image
    notes: dict[str, Any]


class _Gone(Exception):  # noqa: N818 - never leaves this module
    """The decoder process died."""


class ImageDecoder:
    """Decodes pictures in its own processes. Thread-safe; ``close()`` ends the processes.

    ``prepare``, a picklable callable without torch, runs in the process after decoding: a resize
    there spares sending the full picture back. At most ``settings.decode_processes`` pictures
    are decoded at a time; a further ``decode`` waits.
    """

    def __init__(self, settings: Settings, prepare: Prepare | None = None) -> None:
        self._timeout = settings.decode_timeout_seconds
        self._max_bytes = settings.max_bytes
        self._max_pixels = settings.max_pixels
        self._setup = {
            "max_pixels": settings.max_pixels,
            "max_side": settings.max_side,
            "max_bytes": settings.max_bytes,
            "timeout": settings.decode_timeout_seconds + 5,
            "prepare": pickle.dumps(prepare).hex(),
        }
        self._limit = settings.decode_processes or len(os.sched_getaffinity(0))
        self._reset()

    def _reset(self) -> None:
        self._slots = threading.BoundedSemaphore(self._limit)
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False

    def decode(self, data: bytes) -> PreparedPicture:
        """Decode one picture.

        Raises:
            PermanentRowError: ``empty_file``, ``not_an_image``, ``unsupported_format``,
                ``too_large``, ``truncated``, ``corrupt`` or ``decoder_crashed``.
            TransientRowError: ``timeout``.
        """
        if len(data) > self._max_bytes:
            raise PermanentRowError(
                "too_large", f"{len(data):,} bytes; expected at most {self._max_bytes:,}"
            )
        if self._owner != os.getpid():
            self._reset()  # we were forked: the processes answer to somebody else
        with self._slots:
            try:
                return self._ask(self._take(), data)
            except _Gone:
                pass  # killed from outside, or by this picture: a new process will tell
            try:
                return self._ask(_Process(self._setup), data)
            except _Gone as exc:
                raise PermanentRowError(
                    "decoder_crashed", f"the decoder process died of this picture: {exc}"
                ) from None

    def _take(self) -> "_Process":
        with self._lock:
            if self._closed:
                raise ConfigurationError("this ImageDecoder is closed; make a new one")
            while self._idle:
                process = self._idle.pop()
                if process.is_alive():
                    return process
                process.end()
        return _Process(self._setup)

    def _ask(self, process: "_Process", data: bytes) -> PreparedPicture:
        healthy = False
        try:
            picture = process.decode(data, self._timeout, self._max_pixels)
            healthy = True
            return picture
        except RowError as exc:
            healthy = exc.code != "timeout"
            raise
        finally:
            with self._lock:
                keep = healthy and not self._closed
                if keep:
                    self._idle.append(process)
            if not keep:
                process.end()

    def close(self) -> None:
        """End the processes. A picture that is being decoded is finished first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def __enter__(self) -> "ImageDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Process:
    """One decoder process and the two things shared with it: a socket and an anonymous file."""

    def __init__(self, setup: dict[str, Any]) -> None:
        if not sys.executable:
            raise ConfigurationError("no Python interpreter to start decoder processes with")
        self._socket, theirs = socket.socketpair()
        self._shared = _anonymous_file()
        # The path goes along as it is, so that a script, a test or a zip finds the same modules.
        program = f"import sys; sys.path[:] = {sys.path!r}; import pipeline.decoder as d; d.serve()"
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
            raise TransientRowError(
                "internal", f"no decoder process can be started: {exc}"
            ) from exc
        finally:
            theirs.close()
        self.end = weakref.finalize(
            self, _end, self._process, self._socket, self._shared, os.getpid()
        )
        self._rest = b""
        try:
            self._send(setup)
            self._receive(_START_SECONDS, "starting a decoder process")
        except BaseException:
            self.end()
            raise

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, timeout: float, max_pixels: int) -> PreparedPicture:
        _write(self._shared, data)
        self._send({"size": len(data)})
        answer = self._receive(timeout, "decoding")
        code = answer.get("code")
        if code is not None:
            kind = PermanentRowError if ROW_ERROR_CODES[code] else TransientRowError
            raise kind(code, answer["message"])
        width, height = answer["size"]
        if width < 1 or height < 1 or width * height > max_pixels:
            raise _Gone("it gave an impossible answer")
        pixels = _read(self._shared, width * height * 3)
        if os.fstat(self._shared).st_size > _KEEP_SHARED:
            os.ftruncate(self._shared, 0)
        image = Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)
        return PreparedPicture(image, answer["notes"])

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as exc:
            raise _Gone(self._epitaph()) from exc

    def _receive(self, timeout: float, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._socket.recv(_MAX_ANSWER)
            except TimeoutError:
                raise TransientRowError("timeout", f"{what} took more than {timeout:g} s") from None
            except OSError as exc:
                raise _Gone(self._epitaph()) from exc
            if not part or len(self._rest) > _MAX_ANSWER:
                raise _Gone(self._epitaph())
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


def _read(file: int, size: int) -> bytearray:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = os.preadv(file, [view[done:]], done)
        if count == 0:
            raise _Gone("it gave fewer pixels than it said")
        done += count
    return buffer
