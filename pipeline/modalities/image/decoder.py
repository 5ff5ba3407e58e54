"""Bytes -> the RGB image a person would see; no file can take the worker down.

Images are decoded in a few small processes that are kept and reused: a crash, a hang or a
memory bomb in a decoder costs one row, and the process is replaced. What "the image a person
would see" means is in ``rendering.py`` and ``colours.py``.
"""

import os
import pickle
import signal
import threading
from typing import Any

from pipeline.errors import (
    ConfigurationError,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.modalities.base import Decoded, ReadOptions
from pipeline.modalities.image.child import Prepare
from pipeline.modalities.image.process import DecoderProcess, ProcessGone
from pipeline.modalities.image.rendering import memory_needed


class ImageDecoder:
    """Decodes images in its own processes. Thread-safe; ``close()`` ends the processes.

    ``prepare``, a picklable callable without torch, runs in the process after decoding: a resize
    there spares sending the full image back. At most ``options.decode_processes`` images
    are decoded at a time; a further ``decode`` waits.
    """

    def __init__(self, options: ReadOptions, prepare: Prepare | None = None) -> None:
        self._timeout = options.decode_timeout_seconds
        self._max_bytes = options.max_bytes
        self._max_pixels = options.max_pixels
        self._setup: dict[str, Any] = {
            "max_pixels": options.max_pixels,
            "max_side": options.max_side,
            "keep_gps": options.keep_gps,
            "memory_bytes": options.decode_memory_bytes
            or memory_needed(options.max_pixels, options.max_bytes),
            "cpu_seconds": options.decode_cpu_seconds,
            "timeout": options.decode_timeout_seconds + 5,
            "prepare": pickle.dumps(prepare).hex(),
        }
        self._limit = options.decode_processes or len(os.sched_getaffinity(0))
        self._reset()

    def _reset(self) -> None:
        self._slots = threading.BoundedSemaphore(self._limit)
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False

    def decode(self, data: bytes) -> Decoded:
        """Decode one image.

        Raises:
            PermanentRowError: ``empty_file``, ``not_an_image``, ``unsupported_format``,
                ``too_large``, ``too_complex``, ``truncated``, ``corrupt`` or ``decoder_crashed``.
            TransientRowError: ``timeout``, ``out_of_memory`` or ``internal``.
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
            except ProcessGone as exc:  # killed from outside, or by this image?
                if _used_up_its_time(exc):
                    raise self._too_complex() from None
            try:
                return self._ask(DecoderProcess(self._setup), data)  # it will tell
            except ProcessGone as exc:
                raise (self._too_complex() if _used_up_its_time(exc) else _crashed(exc)) from None

    def _too_complex(self) -> RowError:
        return PermanentRowError(
            "too_complex",
            f"decoding took more than {self._setup['cpu_seconds']:g} s of the processor "
            "(PIPELINE_DECODE_CPU_SECONDS), as a file does that is made to",
        )

    def _take(self) -> "DecoderProcess":
        with self._lock:
            if self._closed:
                raise ConfigurationError("this ImageDecoder is closed; make a new one")
            while self._idle:
                process = self._idle.pop()
                if process.is_alive():
                    return process
                process.end()
        return DecoderProcess(self._setup)

    def _ask(self, process: "DecoderProcess", data: bytes) -> Decoded:
        healthy = False
        try:
            decoded = Decoded(*process.decode(data, self._timeout, self._max_pixels))
            healthy = True
            return decoded
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
        """End the processes. A image that is being decoded is finished first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def __enter__(self) -> "ImageDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _used_up_its_time(exc: ProcessGone) -> bool:
    return str(exc) == f"signal {signal.SIGPROF.value}"


def _crashed(exc: ProcessGone) -> RowError:
    if str(exc) == f"signal {signal.SIGKILL.value}":  # nobody else kills like that
        return TransientRowError(
            "out_of_memory",
            "the decoder process was killed twice (SIGKILL), as the system does when memory is "
            "short; give the worker more memory or lower PIPELINE_DECODE_PROCESSES",
        )
    return PermanentRowError("decoder_crashed", f"the decoder process died of this image: {exc}")
