"""The API as an ASGI application. Needs Starlette."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.embeddings_api.address import is_own_host
from pipeline.embeddings_api.answering import Answers
from pipeline.embeddings_api.faults import ApiError
from pipeline.errors import MissingExtra

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as exc:
    raise MissingExtra("pipeline serve --http", "http") from exc

from pipeline.embeddings_api.bodies import Bodies


class OnlyForThose:
    """Lets through who sends the token; where there is none, who asks this very machine.

    Args:
        token: empty: none is asked for.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(Request(scope))
            except ApiError as exc:
                await _refused(exc)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        if not self._token:
            if not is_own_host(request.headers.get("host", "")):
                raise ApiError(403, "without a token only 127.0.0.1 is answered", "wrong_host")
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secrets.compare_digest(
            given.strip().encode("utf-8", "replace"), self._token
        ):
            raise ApiError(401, "the bearer token is missing or wrong", "invalid_api_key")


def application(
    answers: Answers, threads: ThreadPoolExecutor, bodies: Bodies, token: str
) -> ASGIApp:
    """``/v1/embeddings``, ``/v1/models`` and ``/v1/models/NAME``, also without ``/v1``.

    Args:
        threads: that wait for decoders and the model.
        token: that each request has to send; empty: none.
    """

    async def said(answer: Callable[..., dict[str, Any]], *given: Any) -> Response:
        def run() -> Response:
            return JSONResponse(answer(*given))

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    async def embeddings(request: Request) -> Response:
        async with bodies.held(request) as body:
            return await said(answers.embeddings, body)

    async def models(request: Request) -> Response:
        return await said(answers.models)

    async def model(request: Request) -> Response:
        return await said(answers.model, request.path_params["name"])

    routes = [
        route
        for start in ("/v1", "")
        for route in (
            Route(f"{start}/embeddings", embeddings, methods=["POST"]),
            Route(f"{start}/models", models, methods=["GET"]),
            Route(f"{start}/models/{{name:path}}", model, methods=["GET"]),
        )
    ]
    handlers: dict[Any, Any] = {
        ApiError: lambda _, exc: _refused(exc),
        HTTPException: lambda _, exc: _refused(ApiError(exc.status_code, exc.detail, "http_error")),
        Exception: _broken,
    }
    return OnlyForThose(Starlette(routes=routes, exception_handlers=handlers), token)


def _refused(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers())


async def _broken(_: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again after this answer, and uvicorn logs it.
    return _refused(ApiError(500, "the server is broken; its log says how", "internal"))
