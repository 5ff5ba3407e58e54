"""``pipeline serve``: vectors for the texts and files that others search for."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.embeddings_api import Http, http_door, opened
from pipeline.cli.output import note
from pipeline.cli.signals import StopSignals

if TYPE_CHECKING:
    from pipeline.embedders import Embedder
    from pipeline.postgres.database import Database
    from pipeline.spaces import Space


def serve(
    cache_size: Annotated[
        int | None,
        typer.Option(min=1, help="Query vectors to keep, instead of PIPELINE_QUERY_CACHE_SIZE."),
    ] = None,
    configure_loopback: Annotated[
        bool,
        typer.Option(
            "--configure-loopback",
            help="First make the login by which text_embedding() reaches the server itself.",
        ),
    ] = False,
    http: Http = None,
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

    server = QueryServer(
        database.url,
        load,
        ServeOptions.of(settings, database.schema),
        serving=lambda space: note(f"serving the space {space.name}; stop with Ctrl-C"),
    )
    StopSignals(server)
    with every(LOOK_SECONDS, database, "statistics", refresh_active), opened(door, server.stop):
        report = server.run()
    texts = f"{report.answered} texts in {report.batches} batches"
    note(f"stopped after {texts}" + f" and {report.files} files" * bool(report.files))


def _configure_loopback(database: "Database") -> None:
    from pipeline.postgres.connections import errors_of_ours

    with database.connect() as connection, errors_of_ours():
        connection.execute("CALL configure_loopback()")
