"""An HTTP server on loopback that behaves, or misbehaves, as each path says."""

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BODY = b"picture bytes " * 10


@dataclass
class Request:
    """What arrived: the request line's parts, the headers, and the connection it came on."""

    method: str
    path: str
    headers: dict[str, str]
    connection: int


@dataclass
class Server:
    port: int
    requests: list[Request] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    location: bytes = b"/good"  # where /redirect-to leads

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


Answer = Callable[[Server, Request, socket.socket], bool | None]
ANSWERS: dict[str, Answer] = {}


def at(path: str) -> Callable[[Answer], Answer]:
    def register(answer: Answer) -> Answer:
        ANSWERS[path] = answer
        return answer

    return register


def answer(
    connection: socket.socket,
    status: str,
    body: bytes = b"",
    *headers: str,
    length: int | None = None,
) -> bool:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    return length is None  # keep the connection


@at("/good")
def _good(server: Server, request: Request, connection: socket.socket) -> bool:
    body = b"" if request.method == "HEAD" else BODY
    return answer(
        connection, "200 OK", body, 'ETag: "v1"', "Content-Type: image/png; charset=x",
        "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT",
    ) or True  # fmt: skip


@at("/no-head")
def _no_head(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "405 Method Not Allowed" if request.method == "HEAD" else "200 OK")


@at("/get-only-signature")
def _get_only(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "403 Forbidden")


@at("/chunked")
def _chunked(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in (BODY[:20], BODY[20:]):
        connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    connection.sendall(b"0\r\n\r\n")
    return True


@at("/gzip")
def _gzip(server: Server, request: Request, connection: socket.socket) -> bool:
    packed = gzip.compress(BODY)
    body = b"" if request.method == "HEAD" else packed
    return answer(connection, "200 OK", body, "Content-Encoding: gzip", length=len(packed))


@at("/bomb")
def _bomb(server: Server, request: Request, connection: socket.socket) -> bool:
    bomb = gzip.compress(b"\0" * 50_000_000)
    return answer(connection, "200 OK", bomb, "Content-Encoding: gzip")


@at("/cut-gzip")
def _cut_gzip(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", gzip.compress(BODY)[:-12], "Content-Encoding: gzip")


@at("/no-gzip")
def _no_gzip(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", BODY, "Content-Encoding: gzip")


@at("/brotli")
def _brotli(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", BODY, "Content-Encoding: br")


@at("/claims-much")
def _claims_much(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", b"x", length=10**12)


@at("/endless")
def _endless(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while not server.released.is_set():
            connection.sendall(b"x" * 65536)
    return False


@at("/lies-short")
def _lies_short(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", BODY, length=len(BODY) + 100)


@at("/lies-long")
def _lies_long(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", BODY + b"HTTP/1.1 200 OK\r\n\r\nforged", length=len(BODY))


@at("/silent")
def _silent(server: Server, request: Request, connection: socket.socket) -> bool:
    server.released.wait(60)
    return False


@at("/drip")
def _drip(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    return drip(server, connection)


@at("/drip-headers")
def _drip_headers(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    return drip(server, connection)


def drip(server: Server, connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        while not server.released.wait(0.05):
            connection.sendall(b"x")
    return False


@at("/nonsense")
def _nonsense(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    return False


@at("/terminal-codes")
def _terminal_codes(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(
        connection, "200 OK", BODY, 'ETag: "\x1b[31mv1"', "Content-Type: image/\x1b]0;png"
    )


@at("/no-status")
def _no_status(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b'+OK it\'s SECRET "ready"\r\n\r\n')
    return False


@at("/no-header")
def _no_header(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nSECRET and no more\r\n\r\n")
    return False


@at("/hangs-up")
def _hangs_up(server: Server, request: Request, connection: socket.socket) -> bool:
    return False


@at("/huge-header")
def _huge_header(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n")
    return False


@at("/slow-good")
def _slow_good(server: Server, request: Request, connection: socket.socket) -> bool:
    server.released.wait(0.1)
    return answer(connection, "200 OK", BODY)


@at("/loop")
def _loop(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "302 Found", b"", "Location: /loop?token=secret")


def _by_query(server: Server, request: Request, connection: socket.socket) -> bool:
    """``/redirect-to``, ``/redirect?LOCATION``, ``/hops?N``, ``/status?CODE[,Retry-After]``."""
    path, _, query = request.path.partition("?")
    if request.path == "/redirect-to":
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
        connection.sendall(head + server.location + b"\r\n\r\n")
        return True
    if path == "/redirect":
        return answer(connection, "302 Found", b"moved", f"Location: {query}")
    if path == "/hops":
        following = "/good" if query == "1" else f"/hops?{int(query) - 1}"
        return answer(connection, "307 Temporary Redirect", b"", f"Location: {following}")
    if path == "/status":
        code, _, wait = query.partition(",")
        headers = [f"Retry-After: {wait.replace('+', ' ')}"] if wait else []
        return answer(connection, f"{code} Whatever", b"sorry", *headers)
    return answer(connection, "404 Not Found", b"nothing here")


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """A running server; every thread of it is over when the block is left."""
    listener = socket.create_server((host, 0))
    server = Server(listener.getsockname()[1])
    threads: list[threading.Thread] = []
    lock = threading.Lock()
    open_connections: set[socket.socket] = set()

    def talk(plain: socket.socket, number: int) -> None:
        connection: socket.socket = plain
        with contextlib.suppress(OSError, ValueError):
            if context is not None:
                connection = context.wrap_socket(plain, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with lock:
                open_connections.add(connection)
            while request := _read(connection, number):
                with lock:
                    server.requests.append(request)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                act = ANSWERS.get(request.path.partition("?")[0], _by_query)
                try:
                    keep = act(server, request, connection)
                finally:
                    with lock:
                        server.at_once -= 1
                if not keep:
                    break
        connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            for number in range(10_000):
                connection, _ = listener.accept()
                thread = threading.Thread(target=talk, args=(connection, number), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        server.released.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        with lock:
            for connection in open_connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def _read(connection: socket.socket, number: int) -> Request | None:
    text = b""
    while b"\r\n\r\n" not in text:
        part = connection.recv(65536)
        if not part:
            return None
        text += part
    first, *lines = text.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    return Request(method, path, headers, number)
