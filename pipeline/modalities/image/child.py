"""The decoder process: it takes bytes, renders them, and gives RGB back. Nothing else.

It is a separate program (``images.py`` starts it) because a decoder's crash can only be contained
by a process. It imports Pillow and NumPy and neither torch nor a database driver, has no
environment, no sockets but the one to its parent, and a limit on its memory.

Protocol: one line of JSON each way over a socket (stdin); the bytes and the RGB pixels travel in
an anonymous file (stdout) that both ends hold.
"""

import contextlib
import json
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.errors import RowError
from pipeline.modalities.image.rendering import Limits, render

Prepare = Callable[[Image.Image], Image.Image]

# What the libraries take as they are used: code, tables, the allocator's arenas.
_HEADROOM = 192 * 2**20
_BASE = 512 * 2**20  # address space of the interpreter and the libraries, where it is not known


def serve() -> None:
    """Answer requests until the parent closes its end (also by dying)."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # the parent decides when to stop
    for signum in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(signum, signal.SIG_DFL)  # kills, even inside a C decoder
    parent, shared = socket.socket(fileno=os.dup(0)), os.dup(1)
    devnull = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(devnull, descriptor)
    stream = parent.makefile("rb")
    setup = json.loads(stream.readline())
    limits = Limits(
        setup["max_pixels"], setup["max_side"], setup["keep_gps"], setup["memory_bytes"]
    )
    prepare: Prepare | None = pickle.loads(bytes.fromhex(setup["prepare"]))  # noqa: S301 - ours
    _limit_memory(setup["memory_bytes"])
    parent.sendall(b"{}\n")
    for line in stream:
        size = json.loads(line)["size"]
        signal.setitimer(signal.ITIMER_REAL, setup["timeout"])  # should the parent be gone
        # Of all threads, in this process alone: a busy machine makes nothing of it.
        signal.setitimer(signal.ITIMER_PROF, setup["cpu_seconds"])
        answer = _answer(shared, size, limits, prepare)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(BrokenPipeError):
            parent.sendall(json.dumps(answer).encode() + b"\n")


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return
    used = _BASE
    with contextlib.suppress(OSError):  # no /proc
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + _HEADROOM + memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(shared: int, size: int, limits: Limits, prepare: Prepare | None) -> dict[str, Any]:
    try:
        image, notes = render(_read(shared, size), limits)
        if prepare is not None:
            image = prepare(image)
        _write(shared, image.tobytes())
        return {"size": image.size, "notes": notes}
    except RowError as exc:
        return {"code": exc.code, "message": exc.message}
    except MemoryError:
        error = limits.no_memory("the image needs more")
        return {"code": error.code, "message": error.message}
    except Exception as exc:  # prepare's defect, not the image's
        return {"code": "internal", "message": f"preparing failed: {type(exc).__name__}: {exc}"}


def _read(shared: int, size: int) -> bytes:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        done += os.preadv(shared, [view[done:]], done)
    return bytes(buffer)


def _write(shared: int, data: bytes) -> None:
    view, done = memoryview(data), 0
    while done < len(data):
        done += os.pwrite(shared, view[done:], done)
