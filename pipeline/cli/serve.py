"""``pipeline serve``: vectors for the texts that SQL sessions search for."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note
from pipeline.cli.signals import StopSignals

if TYPE_CHECKING:
    from pipeline.search.serve import QueryEmbedder
    from pipeline.settings import Settings
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
            help="First store the URL's password for text_embedding()'s connection to itself.",
        ),
    ] = False,
) -> None:
    """Embed the texts that text_embedding() asks for, in any SQL session, until stopped.

    Keeps the active space's model in memory. Exits 0 on SIGTERM or SIGINT.

    Example: pipeline serve --cache-size 50000
    """
    # Late, as in every command: --help loads neither a driver nor numpy.
    from pipeline.postgres.connections import open_database, resolve_url
    from pipeline.search.serve import QueryServer
    from pipeline.settings import Settings

    settings = Settings.load(query_cache_size=cache_size)
    open_database(settings, role="pipeline serve").close()
    url = resolve_url(settings)
    if configure_loopback:
        _configure_loopback(url)
    server = QueryServer(
        url,
        lambda space: _load(space, settings),
        cache_size=settings.query_cache_size,
        outage_seconds=settings.outage_seconds,
    )
    StopSignals(server)
    note("serving; stop with Ctrl-C")
    report = server.run()
    note(f"stopped after {report.answered} texts in {report.batches} batches")


def _load(space: "Space", settings: "Settings") -> "QueryEmbedder":
    from pipeline import spaces
    from pipeline.embedders.openclip.embedder import MultimodalEmbedder

    embedder = MultimodalEmbedder(space.model, device=settings.device, precision=space.precision)
    spaces.check_model(space, embedder.description)
    return embedder


def _configure_loopback(url: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    from pipeline.errors import ConfigurationError
    from pipeline.postgres.connections import connect, libpq_url
    from pipeline.search.serve import configure_loopback

    password = conninfo_to_dict(libpq_url(url)).get("password")
    if not password:
        raise ConfigurationError(
            "--configure-loopback needs a password in DATABASE_URL; where none is needed (the "
            "embedded server), neither is this option"
        )
    with connect(url) as connection:
        configure_loopback(connection, str(password))
