"""``/metrics``, ``/healthz`` and ``/readyz``, of whatever process answers HTTP."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def metrics_route(registry: CollectorRegistry) -> Route:
    """``/metrics``, in the format that is asked for."""

    def show(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": kind})

    return Route("/metrics", show)


def health_routes(reason: Callable[[], str | None]) -> list[Route]:
    """``/healthz``: this process answers; ``/readyz``: so it does its work.

    Args:
        reason: why it does not; None: it does.
    """

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(request: Request) -> Response:
        found = reason()
        return PlainTextResponse(f"{found or 'ok'}\n", 503 if found else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
