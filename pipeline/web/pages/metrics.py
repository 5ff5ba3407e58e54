"""``/metrics``, as Prometheus reads it."""

from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.web.metrics import Metrics


def routes(metrics: Metrics) -> list[Route]:
    """``/metrics``."""

    def show(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": kind})

    return [Route("/metrics", show)]
