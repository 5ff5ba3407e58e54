"""Where whoever has the token says so, once."""

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
            return page(request, "login.html", error="")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST:
                raise PageError(413, "This is no token.")
        fields = parse_qs(body.decode("ascii", "replace"))
        if not tokens.is_right(fields.get("token", [""])[0]):
            return page(request, "login.html", status=401, error="This is not the token.")
        response = RedirectResponse(f"{root}/", 303)
        remember(response, tokens, path=root)
        return response

    return [Route(LOGIN, login, methods=["GET", "POST"])]
