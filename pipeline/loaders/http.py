"""http and https, for references that anybody may have written.

Every hop is resolved and checked here, and the connection goes to the very address that was
checked (with the name kept for Host, SNI and the certificate), so neither a redirect nor a DNS
answer that changes leads inside. Proxies of the environment are not used. Redirects are followed
by hand; one deadline covers everything, also a body that drips.
"""

import contextlib
import os
import re
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import certifi
import httpcore

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders.connections import CheckedBackend, HostGates
from pipeline.loaders.content import Deadline, too_large
from pipeline.loaders.options import LoadOptions
from pipeline.loaders.urls import Url, parse_url
from pipeline.references import WEB, printable, redact
from pipeline.version import __version__

_MAX_REDIRECTS = 5
_MAX_RETRY_AFTER = 3600.0
_MAX_DRAINED = 64 * 1024
_ASCII = "".join(map(chr, range(128)))
_REPEATED_BYTES = re.compile(r""":?\s*(?:bytearray\(|\bb)['"b].*""", re.DOTALL)
_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class HttpLoader:
    """One connection pool for all threads."""

    schemes: tuple[str, ...] = WEB

    def __init__(self, options: LoadOptions) -> None:
        self._max_bytes = options.max_bytes
        self._backend = CheckedBackend(options.http_allow_private, options.connect_timeout_seconds)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=None,  # as many as there are threads: none waits for another's host
            max_keepalive_connections=options.load_workers,
            keepalive_expiry=30.0,
            network_backend=self._backend,
        )
        self._hosts = HostGates(options.http_per_host)

    def close(self) -> None:
        self._pool.close()

    def load(self, ref: str, deadline: Deadline) -> tuple[bytes, dict[str, Any]]:
        with self._answer("GET", ref, deadline) as response:
            headers = _headers(response)
            length = headers.get("content-length", "")
            if length.isdigit() and int(length) > self._max_bytes:
                raise too_large(int(length), self._max_bytes)
            body = decoded(_parts(response, deadline), _encoding(headers), self._max_bytes)
            data = bytearray()
            for part in body:
                data += part
                if len(data) > self._max_bytes:
                    raise too_large(None, self._max_bytes)
        return bytes(data), {**_notes(headers), "size": len(data)}

    def stat(self, ref: str, deadline: Deadline) -> dict[str, Any]:
        """Ask with HEAD; a server that refuses HEAD gives an empty answer."""
        try:
            with self._answer("HEAD", ref, deadline) as response:
                return _notes(_headers(response))
        except PermanentRowError as exc:
            if exc.code in {"http_error", "permission_denied"}:  # presigned for GET alone
                return {}
            raise

    @contextlib.contextmanager
    def _answer(self, method: str, ref: str, deadline: Deadline) -> Iterator[httpcore.Response]:
        """The final 200 answer, redirects followed, every failure a row error."""
        url = parse_url(ref)
        for _ in range(_MAX_REDIRECTS + 1):
            with (
                self._hosts.turn(url.origin, deadline),
                self._backend.until(deadline),
                self._exchange(method, url, deadline) as response,
            ):
                if response.status not in _REDIRECTS:
                    _check_status(response, url, self._hosts)
                    yield response
                    return
                location = _headers(response).get("location", "")
                _drain(response)
            if not location:
                raise PermanentRowError("http_error", f"{response.status} without a Location")
            url = self._redirected(url, location)
        raise PermanentRowError(
            "too_many_redirects",
            f"more than {_MAX_REDIRECTS} redirects; the last to {redact(url.origin + url.target)}",
        )

    @staticmethod
    def _redirected(url: Url, location: str) -> Url:
        # Bytes that are no ASCII are asked for as they are, whatever encoding they are in.
        following = parse_url(quote(location, safe=_ASCII, encoding="latin-1"), url)
        if url.scheme == "https" and following.scheme == "http":
            raise PermanentRowError("http_error", "a redirect from https down to http")
        return following

    @contextlib.contextmanager
    def _exchange(self, method: str, url: Url, deadline: Deadline) -> Iterator[httpcore.Response]:
        left = deadline.left()
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers={
                "Host": url.host_header,
                "User-Agent": f"pgvector-crossmodal-pipeline/{__version__}",
                "Accept": "image/*, */*;q=0.5",
                "Accept-Encoding": "identity",
            },
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), left)},
        )
        response = None
        try:
            response = self._pool.handle_request(request)
            yield response
        except RowError:
            raise
        except httpcore.TimeoutException as exc:
            raise _timeout(exc, deadline) from exc
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            raise _broken(exc, url) from exc
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    response.close()


def _timeout(exc: Exception, deadline: Deadline) -> RowError:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, RowError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, httpcore.ConnectTimeout):
        return TransientRowError("timeout", "the server did not accept a connection in time")
    return deadline.passed()


def _broken(exc: Exception, url: Url) -> RowError:
    if isinstance(exc.__cause__ or exc.__context__, ssl.SSLError) or isinstance(exc, ssl.SSLError):
        return TransientRowError("unreachable", f"TLS with {url.host} failed: {_reason(exc)}")
    if isinstance(exc, httpcore.UnsupportedProtocol | httpcore.LocalProtocolError):
        return PermanentRowError(
            "bad_reference", f"not a URL that can be asked for: {_reason(exc)}"
        )
    return TransientRowError("unreachable", f"the connection to {url.host} failed: {_reason(exc)}")


def _reason(exc: BaseException) -> str:
    """In its own words, without the bytes that it repeats: they may be of no HTTP server at all."""
    text = " ".join(_REPEATED_BYTES.sub("", str(exc)).split())[:120]
    return text or type(exc).__name__


def _drain(response: httpcore.Response) -> None:
    """Read a short body to its end: only then can the connection be used again."""
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size > _MAX_DRAINED:
            return


# -- answers -------------------------------------------------------------------------------------


def _headers(response: httpcore.Response) -> dict[str, str]:
    pairs = ((key.decode("latin-1"), value.decode("latin-1")) for key, value in response.headers)
    return {key.lower(): value for key, value in pairs}


def _encoding(headers: dict[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower() or "identity"


def _check_status(response: httpcore.Response, url: Url, hosts: "HostGates") -> None:
    status = response.status
    if status == 200:
        return
    found = f"{url.host} answered {status}"
    if status in {404, 410}:
        raise PermanentRowError("not_found", found)
    if status in {401, 403, 407, 451}:
        raise PermanentRowError("permission_denied", found)
    if status in _BUSY:
        wait = _retry_after(_headers(response).get("retry-after"))
        if wait:
            hosts.pause(url.origin, wait)
        again = f"; it asks to come back after {wait:.0f} s" if wait else ""
        raise TransientRowError("busy", found + again, retry_after=wait)
    raise PermanentRowError("http_error", f"{found}; expected 200")


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), _MAX_RETRY_AFTER)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(value)
        wait = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
        return min(max(wait, 0.0), _MAX_RETRY_AFTER)
    return None


def _notes(headers: dict[str, str]) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    if etag := headers.get("etag"):
        notes["etag"] = printable(etag[:200])
    # Of a compressed answer it is not the length of the content.
    if _encoding(headers) == "identity" and headers.get("content-length", "").isdigit():
        notes["size"] = int(headers["content-length"])
    if modified := headers.get("last-modified"):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            notes["mtime"] = parsedate_to_datetime(modified).astimezone(UTC).isoformat()
    if kind := headers.get("content-type"):
        notes["content_type"] = printable(kind.partition(";")[0].strip()[:100])
    return notes


def _parts(response: httpcore.Response, deadline: Deadline) -> Iterator[bytes]:
    for part in response.iter_stream():
        deadline.left()
        yield part


def decoded(parts: Iterable[bytes], encoding: str, limit: int) -> Iterator[bytes]:
    """Undo a Content-Encoding we did not ask for, never producing much more than ``limit``."""
    if encoding == "identity":
        yield from parts
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise PermanentRowError(
            "http_error", f"Content-Encoding {encoding[:20]!r}; expected none or gzip"
        )
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, by their first bytes
    produced = 0
    try:
        for part in parts:
            while part:
                out = inflate.decompress(part, max(1, limit - produced + 1))  # 0: no limit
                produced += len(out)
                yield out
                part = inflate.unconsumed_tail
        if not inflate.eof:
            raise TransientRowError("unreachable", "the compressed body ended early")
    except zlib.error as exc:
        raise PermanentRowError("http_error", f"a body that is no {encoding}") from exc


def _ssl_context() -> ssl.SSLContext:
    """Whom to trust: certifi's authorities, unless the usual variables of OpenSSL name others."""
    if file := os.environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    return ssl.create_default_context(cafile=certifi.where())
