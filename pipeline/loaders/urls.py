"""URLs of references, read once and as browsers read them.

What a URL means is the WHATWG's standard (https://url.spec.whatwg.org): spaces and other characters
are written %XX, a backslash is a slash, ``0x7f.1`` is 127.0.0.1. Nothing reads a URL a second time:
the address that is checked, the connection and the request are made of the parts that stand here.
"""

from dataclasses import dataclass

import ada_url

from pipeline.errors import PermanentRowError
from pipeline.loaders.addresses import check_host

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Url:
    """An http(s) URL without its fragment, in ASCII; an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self._shown_host}:{self.port}"

    @property
    def host_header(self) -> str:
        default = _PORTS[self.scheme]
        return self._shown_host if self.port == default else f"{self._shown_host}:{self.port}"

    @property
    def _shown_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(text: str, base: Url | None = None) -> Url:
    """Take a URL apart as a browser does.

    Args:
        base: of what it may be relative to, as in a ``Location``.

    Raises:
        PermanentRowError: ``bad_reference`` or ``unsupported_scheme``.
    """
    try:
        found = ada_url.URL(text, base.origin + base.target if base else None)
    except ValueError as exc:
        raise PermanentRowError(
            "bad_reference", "not a URL; expected one such as https://example.com/a.jpg"
        ) from exc
    scheme = found.protocol.removesuffix(":")
    if scheme not in _PORTS:
        raise PermanentRowError("unsupported_scheme", f"scheme {scheme[:20]!r}; expected http(s)")
    if found.username or found.password:
        raise PermanentRowError(
            "bad_reference", "a user name or password in the URL; expected none"
        )
    if found.port == "0":
        raise PermanentRowError("bad_reference", "a URL with port 0")
    port = int(found.port) if found.port else _PORTS[scheme]
    return Url(scheme, check_host(found.hostname), port, found.pathname + found.search)
