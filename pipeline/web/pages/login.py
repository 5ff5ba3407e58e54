"""Where whoever has the token says so, once."""

import re
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.web.faults import PageError
from pipeline.web.guard import LOGIN, Tokens, remember
from pipeline.web.rendering import page

_MOST = 4_096


def routes(tokens: Tokens) -> list[Route]:
    """``/login``."""

    async def login(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        if request.method == "GET":
            target = _target(request.query_params.get("next", "/"))
            return page(request, "login.html", target=target, error="")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST:
                raise PageError(413, "This is no token.")
        fields = parse_qs(body.decode("ascii", "replace"))
        target = _target(fields.get("next", ["/"])[0])
        if not tokens.is_right(fields.get("token", [""])[0]):
            wrong = "This is not the token."
            return page(request, "login.html", status=401, target=target, error=wrong)
        response = RedirectResponse(f"{root}{target}", 303)
        remember(response, tokens, path=root)
        return response

    return [Route(LOGIN, login, methods=["GET", "POST"])]


def _target(path: str) -> str:
    """Where it goes on: a page of ours, or the first one."""
    return path if re.fullmatch(r"/(?![/\\])[^\x00-\x20\\]*", path) else "/"
