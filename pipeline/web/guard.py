"""Who may ask, by which name of this server, and what browsers may do with what it answers."""

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.embeddings_api.address import is_own_host
from pipeline.web.faults import PageError

COOKIE = "pipeline_web"
LOGIN = "/login"
# What whoever has no token may see: the form that asks for it, and how it looks.
_OPEN = ("/static/", LOGIN, "/healthz", "/readyz")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Tokens:
    """Whether somebody has the token: sends it as a bearer, or was let in by it before.

    Args:
        token: empty: nobody needs one.

    Attributes:
        session: what a browser keeps that was let in.
        csrf: what forms hold that change something.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        # Neither is the token, and both end with this process.
        self.session = secrets.token_hex(32)
        self.csrf = secrets.token_hex(32)

    @property
    def are_needed(self) -> bool:
        return bool(self._token)

    def is_right(self, token: str) -> bool:
        """Compared in constant time."""
        return secrets.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def is_csrf(self, text: str) -> bool:
        """Whether a form of ours was sent: no other page can read what is in it."""
        return secrets.compare_digest(text.encode("utf-8", "replace"), self.csrf.encode())

    def lets_in(self, connection: HTTPConnection) -> bool:
        """Whether whoever asks may."""
        if not self._token:
            return True
        given = connection.cookies.get(COOKIE, "")
        if secrets.compare_digest(given.encode("utf-8", "replace"), self.session.encode()):
            return True
        kind, _, token = connection.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.is_right(token.strip())


class Guard:
    """Refuses what no page answers, and says to browsers that nothing but our own is to run.

    Args:
        hosts: as in ``WebOptions``.
        answer: what whoever is refused gets.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Sequence[str] | None,
        tokens: Tokens,
        answer: Callable[[Request, PageError], Response],
    ) -> None:
        self._app = app
        self._answer = answer
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        app = self._app if refusal is None else self._answer(request, refusal)
        await app(scope, receive, with_headers)

    def _refusal(self, request: Request) -> PageError | None:
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        host = request.headers.get("host", "")
        if self._hosts is not None and not self._is_ours(host):
            return PageError(
                421, "This server is not called so.", "Name it with `pipeline web --allow-host`."
            )
        if request.method not in ("GET", "HEAD") and not is_same_site(request):
            return PageError(403, "This came from another site's page.")
        if not path.startswith(_OPEN) and not self._tokens.lets_in(request):
            return PageError(401, "This page asks for its token.")
        return None

    def _is_ours(self, header: str) -> bool:
        """A name that somebody else lets point here is not; a number is nobody's name."""
        try:
            host = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if is_own_host(header) or host in (self._hosts or ()):
            return True
        return self._tokens.are_needed and _is_number(host)


def is_same_site(request: Request) -> bool:
    """Whether a page of ours, or no page at all, sent a request that may change something."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def remember(response: Response, tokens: Tokens, *, path: str) -> None:
    """Let whoever gets this response in from now on, also where a link elsewhere leads here; what
    changes something asks for more than this cookie."""
    response.set_cookie(COOKIE, tokens.session, path=path or "/", httponly=True, samesite="lax")


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
