"""Content decoded in a few small processes that are kept and reused.

A crash, a hang or a memory bomb in a decoder costs one row, and the process is replaced.
"""

import os
import pickle
import signal
import threading
from typing import Any, Self

from pipeline.errors import (
    ConfigurationError,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.modalities.decoding.process import DecoderProcess, ProcessGone
from pipeline.modalities.decoding.task import Answer, Task

_MORE_BY_THE_CLOCK = 5.0  # seconds until a process ends itself whose parent is gone


class DecoderPool:
    """Does one task in its own processes. Thread-safe; ``close()`` ends the processes.

    Args:
        processes: at most so many contents are decoded at a time, and a further ``decode`` waits;
            0: one per core.
    """

    def __init__(self, task: Task, processes: int = 0) -> None:
        self.task = task
        self._setup: dict[str, Any] = {
            "function": task.function,
            "noun": task.noun,
            "options": dict(task.options),
            "memory_bytes": task.memory_bytes,
            "cpu_seconds": task.cpu_seconds,
            "timeout": task.timeout_seconds + _MORE_BY_THE_CLOCK,
            "prepare": pickle.dumps(task.prepare).hex(),
        }
        self._limit = processes or _processors()
        self._reset()

    def _reset(self) -> None:
        self._slots = threading.BoundedSemaphore(self._limit)
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False

    def decode(self, data: bytes) -> Answer:
        """Decode one content.

        Raises:
            PermanentRowError: ``too_large``, ``too_complex``, ``decoder_crashed``, or what the
                task says of it.
            TransientRowError: ``timeout``, ``out_of_memory`` or ``internal``.
        """
        if len(data) > self.task.max_bytes:
            raise PermanentRowError(
                "too_large", f"{len(data):,} bytes; expected at most {self.task.max_bytes:,}"
            )
        if self._owner != os.getpid():
            self._reset()  # we were forked: the processes answer to somebody else
        with self._slots:
            try:
                return self._ask(self._take(), data)
            except ProcessGone as exc:  # killed from outside, or by this content?
                if _used_up_its_time(exc):
                    raise self._too_complex() from None
            try:
                return self._ask(self._start(), data)  # it will tell
            except ProcessGone as exc:
                raise (
                    self._too_complex() if _used_up_its_time(exc) else self._crashed(exc)
                ) from None

    def _start(self) -> DecoderProcess:
        return DecoderProcess(self.task.module, self._setup)

    def _take(self) -> DecoderProcess:
        with self._lock:
            if self._closed:
                raise ConfigurationError(
                    f"this decoder of the modality {self.task.noun} is closed; make a new one"
                )
            while self._idle:
                process = self._idle.pop()
                if process.is_alive():
                    return process
                process.end()
        return self._start()

    def _ask(self, process: DecoderProcess, data: bytes) -> Answer:
        healthy = False
        try:
            answer = process.decode(data, self.task.timeout_seconds, self.task.answer_bytes)
            healthy = True
            return answer
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

    def _too_complex(self) -> RowError:
        return PermanentRowError(
            "too_complex",
            f"decoding took more than {self.task.cpu_seconds:g} s of the processor "
            f"({self.task.cpu_setting}), as a file does that is made to",
        )

    def _crashed(self, exc: ProcessGone) -> RowError:
        if str(exc) == f"signal {signal.SIGKILL.value}":  # nobody else kills like that
            return TransientRowError(
                "out_of_memory",
                "the decoder process was killed twice (SIGKILL), as the system does when memory is "
                "short; give the worker more memory or lower PIPELINE_DECODE_PROCESSES",
            )
        return PermanentRowError(
            "decoder_crashed", f"the decoder process died of this {self.task.noun}: {exc}"
        )

    def close(self) -> None:
        """End the processes. What is being decoded is finished first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _used_up_its_time(exc: ProcessGone) -> bool:
    return str(exc) == f"signal {signal.SIGPROF.value}"


def _processors() -> int:
    """That this process may use; all that there are where nobody tells, as on macOS."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
