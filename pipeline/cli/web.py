"""``pipeline web``: pages to look at what is there."""

from typing import Annotated

import typer

from pipeline.cli.output import note
from pipeline.cli.signals import StopSignals
from pipeline.errors import PipelineError


def web(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(help="Ask for this, instead of PIPELINE_WEB_TOKEN.", show_default=False),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name of this server in URLs; may be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes", help="Let rows be retried and removed there, spaces paused."
        ),
    ] = False,
) -> None:
    """Show pages to search and look at what is there, until stopped.

    They only read, but with --allow-writes. Queries are answered by a `pipeline serve` that runs,
    else by this process. Exits 0 on SIGTERM or SIGINT.

    Example: pipeline web --port 8765
    """
    from platformdirs import user_cache_path

    from pipeline.embeddings_api.address import Address, listen
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.web.options import WebOptions
    from pipeline.web.server import WebServer

    settings = Settings.load(web_token=token)
    secret = settings.web_token.get_secret_value() if settings.web_token else ""
    database = Database.of(settings)
    options = WebOptions.of(
        settings,
        token=secret,
        hosts=[host, *(allow_host or [])],
        allows_writes=allow_writes,
        cache_folder=user_cache_path("pgvector-crossmodal-pipeline") / "images",
    )
    with listen(
        Address(host, port),
        has_token=bool(secret),
        needs="give --token or set PIPELINE_WEB_TOKEN, which people are asked for",
    ) as listening:
        server = WebServer(database, settings, options, listening, note)
        StopSignals(server)
        with server:
            note(f"pages at {server.url}; stop with Ctrl-C")
            server.run()
    if server.is_broken:
        raise PipelineError("the HTTP server ended by itself; its log says why")
