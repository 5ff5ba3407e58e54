"""URLs of references, taken apart so that no two programs can read them differently."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from pipeline.errors import PermanentRowError
from pipeline.loaders.addresses import check_host

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_SAFE = "%/:=&?~+!$,;'@()*[]"


@dataclass(frozen=True)
class Url:
    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self._shown_host}:{self.port}"

    @property
    def host_header(self) -> str:
        default = {"http": 80, "https": 443}[self.scheme]
        return self._shown_host if self.port == default else f"{self._shown_host}:{self.port}"

    @property
    def _shown_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(text: str) -> Url:
    """Take a URL apart, refusing every form that two programs read differently.

    Raises:
        PermanentRowError: ``bad_reference`` or ``unsupported_scheme``.
    """
    if _FORBIDDEN.search(text):
        raise PermanentRowError(
            "bad_reference", "a space, control character or backslash in the URL; write it %XX"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise PermanentRowError("bad_reference", "not a URL") from exc
    if parts.scheme not in {"http", "https"}:
        raise PermanentRowError("unsupported_scheme", f"scheme {parts.scheme!r}; expected http(s)")
    if "@" in parts.netloc:
        raise PermanentRowError(
            "bad_reference", "a user name or password in the URL; expected none"
        )
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.rstrip(":")
    if not host or port == 0:
        raise PermanentRowError("bad_reference", "a URL without a host or with port 0")
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE)
    default = {"http": 80, "https": 443}[parts.scheme]
    return Url(parts.scheme, check_host(host), port or default, target)
