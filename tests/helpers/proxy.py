"""A TCP proxy before the database that can cut its connections, refuse new ones, or go deaf."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Passes bytes between 127.0.0.1:``port`` and a Unix socket."""

    target: str
    port: int = 0
    accepts: bool = True
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _deaf: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connections(self) -> int:
        with self._lock:
            return len(self._pairs)

    def cut(self) -> None:
        """Every connection ends, as when a router forgets them."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def go_deaf(self) -> None:
        """The connections of now stay open, and no byte passes any more, in either direction."""
        with self._lock:
            self._deaf.update(end for pair in self._pairs for end in pair)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            try:
                if not self.accepts:
                    raise ConnectionRefusedError
                upstream.connect(self.target)
            except OSError:
                client.close()
                upstream.close()
                continue
            with self._lock:
                self._pairs.append((client, upstream))
            threading.Thread(target=self._pass, args=(client, upstream), daemon=True).start()

    def _pass(self, client: socket.socket, upstream: socket.socket) -> None:
        other = {client: upstream, upstream: client}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    data = end.recv(65536)
                    if not data:
                        raise ConnectionResetError
                    if end not in self._deaf:
                        other[end].sendall(data)
        with self._lock:
            self._pairs.remove((client, upstream))
            client.close()
            upstream.close()


@contextlib.contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """A proxy on a free port, before this Unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(target, listener.getsockname()[1])
        threading.Thread(target=proxy._serve, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            proxy.cut()
