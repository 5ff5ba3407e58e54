"""Connections to checked addresses, and whose turn it is at a host."""

import contextlib
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore

from pipeline.errors import TransientRowError
from pipeline.loaders.addresses import parse_networks, resolve
from pipeline.loaders.content import Deadline


class HostGates:
    """At most so many requests to one host at a time, and none while it asked to be left alone."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._lock = threading.Lock()
        self._gates: dict[str, tuple[threading.Semaphore, list[int]]] = {}
        self._paused: dict[str, float] = {}

    @contextlib.contextmanager
    def turn(self, origin: str, deadline: Deadline) -> Iterator[None]:
        with self._lock:
            gate, users = self._gates.setdefault(origin, (threading.Semaphore(self._per_host), [0]))
            users[0] += 1
        try:
            if not gate.acquire(timeout=deadline.left()):
                raise TransientRowError("busy", "too many requests to this host were waiting")
            try:
                self._check_pause(origin)
                yield
            finally:
                gate.release()
        finally:
            with self._lock:
                users[0] -= 1
                if not users[0]:
                    self._gates.pop(origin, None)

    def pause(self, origin: str, seconds: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._paused = {key: end for key, end in self._paused.items() if end > now}
            self._paused[origin] = now + seconds

    def _check_pause(self, origin: str) -> None:
        with self._lock:
            left = self._paused.get(origin, 0.0) - time.monotonic()
        if left > 0:
            raise TransientRowError(
                "busy", f"the server asked to be left alone for {left:.0f} s more", retry_after=left
            )


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and lets no read or write outlive the deadline."""

    def __init__(self, allow_private: tuple[str, ...], connect_timeout: float) -> None:
        self._allowed = parse_networks(allow_private)
        self._connect_timeout = connect_timeout
        self._plain = httpcore.SyncBackend()
        self.here = threading.local()  # httpcore works in the thread that called it

    @contextlib.contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        self.here.deadline = deadline
        try:
            yield
        finally:
            self.here.deadline = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        deadline: Deadline = self.here.deadline
        addresses = resolve(host, port, self._allowed, deadline)
        failure: Exception | None = None
        for address in addresses:
            limit = min(self._connect_timeout, deadline.left())
            try:
                stream = self._plain.connect_tcp(
                    str(address), port, limit, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
                continue
            return TimedStream(stream, self.here)
        raise failure or httpcore.ConnectError("no address")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, here: threading.local) -> None:
        self._stream = stream
        self._here = here

    def _limit(self, timeout: float | None) -> float | None:
        deadline: Deadline | None = getattr(self._here, "deadline", None)
        if deadline is None:
            return timeout
        left = deadline.left()
        return left if timeout is None else min(timeout, left)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limit(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._limit(timeout))
        return TimedStream(stream, self._here)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
