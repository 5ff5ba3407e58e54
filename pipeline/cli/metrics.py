"""What ``--metrics-port`` opens beside a command's work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note

if TYPE_CHECKING:
    from pipeline.metrics.ingest import IngestMetrics
    from pipeline.metrics.serve import ServeMetrics
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings

MetricsPort = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Also answer /metrics, /healthz and /readyz there, such as 9464.",
        show_default=False,
    ),
]


@contextmanager
def metrics_at(
    address: str,
    settings: "Settings",
    database: "Database",
    metrics: "IngestMetrics | ServeMetrics",
    reason: Callable[[], str | None],
) -> Iterator[None]:
    """While the block runs, Prometheus reads the metrics there, and how the database is.

    Args:
        reason: why the command does not do its work yet; None: it does.

    Raises:
        ConfigurationError: it cannot listen there, or wants a token to do so.
        MissingExtra: the extra ``metrics`` is not installed.
    """
    from pipeline.metrics.server import metrics_server

    token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    server = metrics_server(address, token, database, metrics.registry, reason)
    server.open()
    try:
        note(f"metrics at {server.url}/metrics")
        yield
    finally:
        server.close()
