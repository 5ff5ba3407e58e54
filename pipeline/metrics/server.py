"""Metrics and probes of a process that answers nothing else by HTTP."""

from collections.abc import Callable

from pipeline.embeddings_api.address import listen, parse
from pipeline.errors import MissingExtra
from pipeline.postgres.database import Database

try:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from pipeline.embeddings_api.app import OnlyForThose
    from pipeline.embeddings_api.server import HttpServer
    from pipeline.metrics.database import OfDatabase, reading
    from pipeline.metrics.exposition import health_routes, metrics_route
except ImportError as exc:
    raise MissingExtra("--metrics-port", "metrics") from exc

# Of whoever scrapes, and probes.
CLIENTS = 20
GRACE_SECONDS = 1.0


def metrics_server(
    address: str,
    token: str,
    database: Database,
    registry: CollectorRegistry,
    reason: Callable[[], str | None],
) -> HttpServer:
    """A server that listens from now on, and answers once it is opened.

    Args:
        address: ``HOST:PORT``, or a port of this machine's own.
        database: whose state is shown.
        registry: gets that state, and what the process takes.
        token: that ``/metrics`` asks for as a bearer; empty: whoever asks is on this machine.
        reason: why the process does not do its work; None: it does.

    Raises:
        ConfigurationError: it cannot listen there, or wants a token to do so.
    """
    registry.register(OfDatabase(reading(database)))
    ProcessCollector(registry=registry)
    guarded = OnlyForThose(Starlette(routes=[metrics_route(registry)]), token)
    return HttpServer(
        Starlette(routes=[*health_routes(reason), Mount("/", guarded)]),
        listen(
            parse(address),
            has_token=bool(token),
            needs="set PIPELINE_METRICS_TOKEN, which Prometheus has to send as a bearer token",
        ),
        grace_seconds=GRACE_SECONDS,
        connections=CLIENTS,
    )
