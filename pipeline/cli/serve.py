"""``pipeline serve``: vectors for the texts and files that others search for."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.embeddings_api import Http, http_door, opened
from pipeline.cli.metrics import MetricsPort, metrics_at
from pipeline.cli.output import note
from pipeline.cli.signals import StopSignals

if TYPE_CHECKING:
    from pipeline.embedders import Embedder
    from pipeline.metrics.serve import ServeMetrics
    from pipeline.postgres.database import Database
    from pipeline.spaces import Space

CacheSize = Annotated[
    int | None,
    typer.Option(min=1, help="Query vectors to keep, instead of PIPELINE_QUERY_CACHE_SIZE."),
]
ConfigureLoopback = Annotated[
    bool,
    typer.Option(
        "--configure-loopback",
        help="First make the login by which text_embedding() reaches the server itself.",
    ),
]


def serve(
    cache_size: CacheSize = None,
    configure_loopback: ConfigureLoopback = False,
    http: Http = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Embed what others search for, in any SQL session or by `pipeline search`, until stopped.

    Keeps the active space's model in memory. With --http it is also behind POST /v1/embeddings and
    GET /v1/models. Exits 0 on SIGTERM or SIGINT.

    Example: pipeline serve --cache-size 50000
    """
    # Late, as in every command: --help loads neither a driver nor numpy.
    from pipeline.postgres.chores import every
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import SERVE
    from pipeline.search.serve import QueryServer, ServeOptions
    from pipeline.settings import Settings
    from pipeline.spaces.index.build import ignore
    from pipeline.spaces.opening import open_model
    from pipeline.spaces.statistics import LOOK_SECONDS, refresh_active

    settings = Settings.load(query_cache_size=cache_size)
    door = http_door(http, settings) if http is not None else None
    database = Database.of(settings)
    database.open("pipeline serve", needs=SERVE).close()
    if configure_loopback:
        _configure_loopback(database)

    def load(space: "Space") -> "Embedder":
        note(f"loading the model {space.model}")
        model = open_model(database, space, device=settings.device)
        if door is not None:
            door.current.become(space, model)
        return model

    metrics = _metrics() if metrics_port is not None else None
    server = QueryServer(
        database.url,
        load,
        ServeOptions.of(settings, database.schema),
        serving=lambda space: note(f"serving the space {space.name}; stop with Ctrl-C"),
        told=metrics.on_answered if metrics else ignore,
    )
    StopSignals(server)

    def reason() -> str | None:
        return None if server.ready.is_set() else "no space is served"

    with ExitStack() as beside:
        if metrics is not None and metrics_port is not None:
            beside.enter_context(metrics_at(metrics_port, settings, database, metrics, reason))
        beside.enter_context(every(LOOK_SECONDS, database, "statistics", refresh_active))
        beside.enter_context(opened(door, server.stop))
        report = server.run()
    texts = f"{report.answered} texts in {report.batches} batches"
    note(f"stopped after {texts}" + f" and {report.files} files" * bool(report.files))


def _metrics() -> "ServeMetrics":
    from pipeline.metrics.serve import ServeMetrics

    return ServeMetrics()


def _configure_loopback(database: "Database") -> None:
    from pipeline.postgres.connections import errors_of_ours

    with database.connect() as connection, errors_of_ours():
        connection.execute("CALL configure_loopback()")
