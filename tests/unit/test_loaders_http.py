"""http(s) against a server on loopback that misbehaves."""

import gzip
import hashlib
import ipaddress
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.connections import CheckedBackend, TimedStream
from pipeline.loaders.content import Deadline
from pipeline.loaders.http import decoded
from tests.helpers.http_server import BODY, Server, serving

LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def make(**settings: Any) -> Loader:
    given = {
        "http_allow_private": LOOPBACK,
        "max_bytes": 1_000_000,
        "load_timeout_seconds": 20.0,
        **settings,
    }
    return Loader(LoadOptions(**given))


@pytest.fixture
def loader() -> Iterator[Loader]:
    with make() as loader:
        yield loader


@pytest.fixture
def impatient() -> Iterator[Loader]:
    with make(load_timeout_seconds=0.5) as loader:
        yield loader


def failure_of(loader: Loader, url: str) -> RowError:
    with pytest.raises(RowError) as failure:
        loader.load(url)
    assert "secret" not in failure.value.message
    return failure.value


def code_of(loader: Loader, url: str) -> str:
    return failure_of(loader, url).code


Hosts = dict[str, list[str]]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Names and their addresses; every look-up takes the first and drops it while more follow."""
    table: Hosts = {}

    real = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host[0].isdigit():
            return real(host, port, *rest, **options)
        if host not in table:
            raise socket.gaierror(-2, "Name or service not known")
        answers = table[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answer.split()
        ]

    monkeypatch.setattr("pipeline.loaders.addresses.socket.getaddrinfo", look_up)
    return table


# -- what works ----------------------------------------------------------------------------------


def test_a_picture_is_loaded_with_what_is_known_of_it(loader: Loader, server: Server) -> None:
    content = loader.load(server.url("/good"))
    assert content.data == BODY
    assert content.sha256 == hashlib.sha256(BODY).digest()
    assert content.notes == {
        "etag": '"v1"',
        "size": len(BODY),
        "mtime": "2023-11-14T22:13:20+00:00",
        "content_type": "image/png",
    }
    headers = server.requests[0].headers
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["user-agent"].startswith("pgvector-crossmodal-pipeline/")
    assert headers["accept-encoding"] == "identity"


def test_stat_asks_without_the_body(loader: Loader, server: Server) -> None:
    info = loader.stat(server.url("/good"))
    assert (info["etag"], info["mtime"]) == ('"v1"', "2023-11-14T22:13:20+00:00")
    assert server.requests[0].method == "HEAD"
    assert loader.stat(server.url("/no-head")) == {}
    assert loader.stat(server.url("/get-only-signature?X-Amz-Signature=1")) == {}
    with pytest.raises(PermanentRowError) as failure:
        loader.stat(server.url("/nothing"))
    assert failure.value.code == "not_found"


@pytest.mark.parametrize("path", ["/chunked", "/gzip"])
def test_other_encodings_are_undone(loader: Loader, server: Server, path: str) -> None:
    assert loader.load(server.url(path)).data == BODY


def test_the_size_of_what_is_compressed_on_the_way_is_not_that_of_the_content(
    loader: Loader, server: Server
) -> None:
    """A rescan would take the picture for another one every night."""
    assert loader.load(server.url("/gzip")).notes["size"] == len(BODY)
    assert "size" not in loader.stat(server.url("/gzip"))
    assert "size" in loader.stat(server.url("/good"))


def test_connections_are_reused(loader: Loader, server: Server) -> None:
    for _ in range(5):
        loader.load(server.url("/good"))
    assert loader.load(server.url("/hops?3")).data == BODY
    assert {request.connection for request in server.requests} == {0}


def test_up_to_five_redirects_are_followed(loader: Loader, server: Server) -> None:
    assert loader.load(server.url("/hops?5")).data == BODY
    assert code_of(loader, server.url("/hops?6")) == "too_many_redirects"
    assert code_of(loader, server.url("/loop")) == "too_many_redirects"
    assert server.paths().count("/loop") + server.paths().count("/loop?token=secret") == 6


def test_a_proxy_of_the_environment_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with make() as loader:
        assert loader.load(server.url("/good")).data == BODY


# -- where it may go -----------------------------------------------------------------------------


def test_loopback_and_private_targets_are_refused_by_default(server: Server) -> None:
    with make(http_allow_private=()) as loader:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"):
            assert code_of(loader, server.url("/good", host)) == "forbidden_address", host
        assert code_of(loader, "http://169.254.169.254/latest/meta-data/") == "forbidden_address"
        assert code_of(loader, "http://[64:ff9b::7f00:1]/") == "forbidden_address"
    assert server.requests == []


def test_a_name_with_any_refused_address_is_refused(
    loader: Loader, server: Server, hosts: Hosts
) -> None:
    hosts["mixed.example"] = ["127.0.0.1 10.0.0.1"]
    failure = failure_of(loader, server.url("/good", "mixed.example"))
    assert failure.code == "forbidden_address"
    assert "mixed.example leads to an address that is private" in failure.message
    assert server.requests == []


def test_the_next_address_is_tried_when_one_does_not_answer(
    loader: Loader, server: Server, hosts: Hosts
) -> None:
    hosts["two.example"] = ["127.9.9.9 127.0.0.1"]
    assert loader.load(server.url("/good", "two.example")).data == BODY


def test_dns_rebinding_gains_nothing(
    loader: Loader, server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is asked once per connection, and that answer is connected to."""
    hosts["rebind.example"] = ["127.0.0.1", "10.0.0.1"]
    connected = []
    real = socket.create_connection

    def create(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        connected.append(address[0])
        return real(address, *args, **options)

    monkeypatch.setattr("socket.create_connection", create)
    assert loader.load(server.url("/good", "rebind.example")).data == BODY
    assert connected == ["127.0.0.1"]
    assert server.requests[0].headers["host"] == f"rebind.example:{server.port}"
    with make() as another:  # whose connection asks again, and gets the other answer
        assert code_of(another, server.url("/good", "rebind.example")) == "forbidden_address"
    assert connected == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://10.0.0.1/", "forbidden_address"),
        ("//169.254.169.254/", "forbidden_address"),
        ("http://inside.example/", "forbidden_address"),
        ("http://0xa000001/", "forbidden_address"),
        ("http://10.1/", "forbidden_address"),
        ("http://me:secret@127.0.0.1/", "bad_reference"),
        ("http:\\\\10.0.0.1\\", "forbidden_address"),
        ("file:///etc/passwd", "unsupported_scheme"),
        ("ftp://example.com/", "unsupported_scheme"),
        ("data:,x", "unsupported_scheme"),
        ("", "http_error"),
    ],
)
def test_every_redirect_is_checked(
    loader: Loader, server: Server, hosts: Hosts, target: str, code: str
) -> None:
    hosts["inside.example"] = ["192.168.0.1"]
    assert code_of(loader, server.url(f"/redirect?{target}")) == code


def test_names_that_do_not_resolve(loader: Loader, hosts: Hosts) -> None:
    failure = failure_of(loader, "http://nowhere.example/a.jpg")
    assert (failure.code, failure.permanent) == ("unreachable", False)


def test_a_name_server_that_hangs_meets_the_deadline(
    impatient: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        released.wait(60)
        return []

    monkeypatch.setattr("pipeline.loaders.addresses.socket.getaddrinfo", hang)
    assert code_of(impatient, "http://hangs.example/") == "timeout"
    released.set()


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    import ssl

    authority = trustme.CA()

    def context() -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    monkeypatch.setattr("pipeline.loaders.http._ssl_context", context)
    return authority


def tls_server(authority: trustme.CA, *names: str) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return serving(context)


def test_the_certificate_is_checked_against_the_name(authority: trustme.CA, hosts: Hosts) -> None:
    hosts["pictures.example"] = hosts["other.example"] = ["127.0.0.1"]
    with tls_server(authority, "pictures.example") as server, make() as loader:
        assert loader.load(server.url("/good", "pictures.example", "https")).data == BODY
        failure = failure_of(loader, server.url("/good", "other.example", "https"))
        assert failure.code == "unreachable"
        assert "TLS with other.example failed" in failure.message
        assert server.requests[0].headers["host"] == f"pictures.example:{server.port}"


def test_an_unknown_authority_is_refused(hosts: Hosts) -> None:
    hosts["pictures.example"] = ["127.0.0.1"]
    with tls_server(trustme.CA(), "pictures.example") as server, make() as loader:
        assert code_of(loader, server.url("/good", "pictures.example", "https")) == "unreachable"
        assert server.requests == []


def test_the_environment_may_name_another_authority(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts["images.example"] = ["127.0.0.1"]
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with tls_server(authority, "images.example") as server, make() as loader:
        assert loader.load(server.url("/good", "images.example", "https")).data == BODY


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the folder's files")
def test_the_environment_may_name_a_folder_of_authorities(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts["images.example"] = ["127.0.0.1"]
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    subprocess.run(["openssl", "rehash", tmp_path], check=True)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)  # it would win
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with tls_server(authority, "images.example") as server, make() as loader:
        assert loader.load(server.url("/good", "images.example", "https")).data == BODY


def test_a_redirect_does_not_leave_tls(authority: trustme.CA, hosts: Hosts) -> None:
    hosts["pictures.example"] = ["127.0.0.1"]
    with tls_server(authority, "pictures.example") as secure, serving() as plain, make() as loader:
        target = plain.url("/good")
        url = secure.url(f"/redirect?{target}", "pictures.example", "https")
        failure = failure_of(loader, url)
        assert failure.code == "http_error"
        assert "from https down to http" in failure.message
        target = secure.url("/good", "pictures.example", "https")
        assert loader.load(plain.url(f"/redirect?{target}")).data == BODY
        assert plain.paths() == [f"/redirect?{target}"]


# -- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (204, "http_error"),
        (206, "http_error"),
        (304, "http_error"),
        (400, "http_error"),
        (401, "permission_denied"),
        (403, "permission_denied"),
        (404, "not_found"),
        (408, "busy"),
        (410, "not_found"),
        (418, "http_error"),
        (429, "busy"),
        (451, "permission_denied"),
        (500, "busy"),
        (501, "http_error"),
        (502, "busy"),
        (503, "busy"),
        (504, "busy"),
    ],
)
def test_status_codes(loader: Loader, server: Server, status: int, code: str) -> None:
    failure = failure_of(loader, server.url(f"/status?{status}"))
    assert failure.code == code
    assert f"127.0.0.1 answered {status}" in failure.message


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_passed_on_and_the_host_left_alone(
    loader: Loader, server: Server, status: int
) -> None:
    first = failure_of(loader, server.url(f"/status?{status},120"))
    assert isinstance(first, TransientRowError)
    assert first.retry_after == 120
    second = failure_of(loader, server.url("/good"))
    assert isinstance(second, TransientRowError)
    assert second.code == "busy"
    assert second.retry_after is not None
    assert 100 < second.retry_after <= 120
    assert len(server.requests) == 1  # the second was not even asked


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (lambda: "999999", 3600, 3600),
        (lambda: date_in(600), 500, 600),
        (lambda: date_in(-600), 0, 0),
    ],
    ids=["too many seconds", "a date to come", "a date gone by"],
)
def test_forms_of_retry_after(
    loader: Loader, server: Server, value: Callable[[], str], low: float, high: float
) -> None:
    # A date is made when it is asked for: the suite may be collected long before this runs.
    failure = failure_of(loader, server.url(f"/status?503,{value()}"))
    assert isinstance(failure, TransientRowError)
    assert failure.retry_after is not None
    assert low <= failure.retry_after <= high


def date_in(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True).replace(" ", "+")


def test_a_retry_after_that_is_nonsense_is_ignored(loader: Loader, server: Server) -> None:
    failure = failure_of(loader, server.url("/status?503,soon"))
    assert isinstance(failure, TransientRowError)
    assert failure.retry_after is None
    assert loader.load(server.url("/good")).data == BODY


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/bomb", "too_large"),
        ("/claims-much", "too_large"),
        ("/endless", "too_large"),
        ("/cut-gzip", "unreachable"),
        ("/no-gzip", "http_error"),
        ("/brotli", "http_error"),
        ("/lies-short", "unreachable"),
        ("/nonsense", "unreachable"),
        ("/hangs-up", "unreachable"),
        ("/huge-header", "unreachable"),
    ],
)
def test_bodies_that_misbehave(loader: Loader, server: Server, path: str, code: str) -> None:
    assert code_of(loader, server.url(path)) == code
    assert loader.load(server.url("/good")).data == BODY  # the pool is still sound


@pytest.mark.parametrize("path", ["/no-status", "/no-header"])
def test_what_listens_there_is_not_quoted(loader: Loader, server: Server, path: str) -> None:
    message = failure_of(loader, server.url(path)).message
    assert message.startswith("the connection to 127.0.0.1 failed: illegal ")
    assert message.endswith((" line", " header"))


def test_what_a_server_says_of_its_content_is_printable(loader: Loader, server: Server) -> None:
    for notes in (
        loader.load(server.url("/terminal-codes")).notes,
        loader.stat(server.url("/terminal-codes")),
    ):
        assert notes["etag"] == '"\ufffd[31mv1"'
        assert notes["content_type"] == "image/\ufffd]0"


def test_a_gzip_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    pieces = decoded([bomb], "gzip", 1000)
    assert [len(next(pieces)) for _ in range(3)] == [1001, 1, 1]


def test_bytes_after_the_said_length_are_not_taken_for_an_answer(
    loader: Loader, server: Server
) -> None:
    assert loader.load(server.url("/lies-long")).data == BODY
    try:
        data = loader.load(server.url("/good")).data
    except TransientRowError:
        # The bytes came so late that the connection was used again: an error, and not the answer.
        data = loader.load(server.url("/good")).data
    assert data == BODY
    assert server.requests[-1].connection != server.requests[0].connection


@pytest.mark.parametrize("path", ["/silent", "/drip", "/drip-headers"])
def test_one_deadline_covers_everything(impatient: Loader, server: Server, path: str) -> None:
    started = time.monotonic()
    failure = failure_of(impatient, server.url(path))
    assert (failure.code, failure.permanent) == ("timeout", False)
    assert time.monotonic() - started < 10


def test_no_read_or_write_gets_more_than_the_time_that_is_left() -> None:
    given: list[float | None] = []

    class Recorder(httpcore.NetworkStream):
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            given.append(timeout)
            return b""

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            given.append(timeout)

    backend = CheckedBackend((), 5.0)
    stream = TimedStream(Recorder(), backend.here)
    with backend.until(Deadline(10)):
        stream.read(1, 60.0)
        stream.write(b"", 60.0)
        stream.read(1, 0.5)
    assert given[0] is not None
    assert given[1] is not None
    assert max(given[0], given[1]) <= 10
    assert given[2] == 0.5


def test_a_host_that_takes_no_connection_times_out(hosts: Hosts) -> None:
    """A full backlog: the connection is neither taken nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        with make(connect_timeout_seconds=0.3, load_timeout_seconds=60.0) as loader:
            failure = failure_of(loader, f"http://127.0.0.1:{port}/")
        assert time.monotonic() - started < 40
        assert (failure.code, failure.message) == (
            "timeout",
            "the server did not accept a connection in time",
        )
        for filler in fillers:
            filler.close()


def test_a_refused_connection_is_transient(loader: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failure = failure_of(loader, f"http://127.0.0.1:{port}/?key=secret")
    assert (failure.code, failure.permanent) == ("unreachable", False)


# -- many at once --------------------------------------------------------------------------------


def test_one_host_is_asked_so_many_times_at_once_and_no_more(server: Server) -> None:
    with make(http_per_host=2, load_workers=8) as loader, ThreadPoolExecutor(8) as threads:
        urls = [server.url(f"/slow-good?{number}") for number in range(12)]
        assert [content.data for content in threads.map(loader.load, urls)] == [BODY] * 12
    assert server.most_at_once == 2
    assert len({request.connection for request in server.requests}) == 2


def test_waiting_for_a_turn_ends_at_the_deadline(server: Server) -> None:
    with (
        make(http_per_host=1, load_timeout_seconds=0.5) as loader,
        ThreadPoolExecutor(3) as threads,
    ):
        codes = list(threads.map(lambda _: code_of(loader, server.url("/silent")), range(3)))
    assert set(codes) <= {"timeout", "busy"}


def test_a_slow_host_does_not_hold_up_another(server: Server) -> None:
    with serving() as other, make(http_per_host=1) as loader, ThreadPoolExecutor(4) as threads:
        stuck = [threads.submit(loader.load, server.url("/silent")) for _ in range(3)]
        assert loader.load(other.url("/good")).data == BODY
        server.released.set()
        for future in stuck:
            assert isinstance(future.exception(), RowError)


def test_loopback_is_loopback() -> None:
    """The setting the tests above rely on opens loopback and nothing else."""
    (network,) = (ipaddress.ip_network(text) for text in LOOPBACK)
    assert network.is_loopback
