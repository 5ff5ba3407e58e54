"""The decoder process: it takes bytes, decodes them, and gives arrays back. Nothing else.

It is a separate program (``process.py`` starts it) because a decoder's crash can only be contained
by a process. It imports NumPy and the task's module, neither torch nor a database driver, has no
environment, no sockets but the one to its parent, and a limit on its memory.

Protocol: one line of JSON each way over a socket (stdin); the bytes and the arrays travel in
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
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.decoding.task import DTYPES, Array, Decode

# What the libraries take as they are used: code, tables, the allocator's arenas.
_HEADROOM = 192 * 2**20
_BASE = 512 * 2**20  # address space of the interpreter and the libraries, where it is not known


def serve(module: str) -> None:
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
    prepare = pickle.loads(bytes.fromhex(setup["prepare"]))  # noqa: S301 - ours
    decode: Decode = getattr(import_module(module), setup["function"])(setup["options"], prepare)
    _limit_memory(setup["memory_bytes"])
    parent.sendall(b"{}\n")
    for line in stream:
        size = json.loads(line)["size"]
        signal.setitimer(signal.ITIMER_REAL, setup["timeout"])  # should the parent be gone
        # Of all threads, in this process alone: a busy machine makes nothing of it.
        signal.setitimer(signal.ITIMER_PROF, setup["cpu_seconds"])
        answer = _answer(shared, size, decode, setup)
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


def _answer(shared: int, size: int, decode: Decode, setup: dict[str, Any]) -> dict[str, Any]:
    try:
        arrays, notes = decode(_read(shared, size))
        _write(shared, arrays)
        described = [(array.shape, array.dtype.str) for array in arrays]
        return {"arrays": described, "notes": notes}
    except RowError as exc:
        return {"code": exc.code, "message": exc.message}
    except MemoryError:
        error = no_memory(setup["noun"], setup["memory_bytes"])
        return {"code": error.code, "message": error.message}
    except Exception as exc:  # prepare's defect, not the content's
        return {"code": "internal", "message": f"preparing failed: {type(exc).__name__}: {exc}"}


def no_memory(noun: str, memory_bytes: float) -> PermanentRowError:
    """That a content needs more memory than it may take."""
    return PermanentRowError(
        "too_large",
        f"decoding it needs more than the {memory_bytes / 1e6:,.0f} MB that decoding content of "
        f"the modality {noun} may take (PIPELINE_DECODE_MEMORY_BYTES)",
    )


def _read(shared: int, size: int) -> bytes:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        done += os.preadv(shared, [view[done:]], done)
    return bytes(buffer)


def _write(shared: int, arrays: list[Array]) -> None:
    start = 0
    for array in arrays:
        if array.dtype.str not in DTYPES or not array.flags.c_contiguous:
            raise TypeError(f"an array of {array.dtype.str} cannot be given back")
        view, done = array.reshape(-1).view("u1").data, 0
        while done < array.nbytes:
            done += os.pwrite(shared, view[done:], start + done)
        start += array.nbytes
