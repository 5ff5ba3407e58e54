"""``pipeline mcp``: tools for assistants, by the Model Context Protocol."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.leaving import end_now
from pipeline.cli.output import note
from pipeline.cli.signals import StopSignals
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.integrations.mcp.reader import Reader
    from pipeline.settings import Settings


def mcp(
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Answer by HTTP there, such as 127.0.0.1:8766, instead of on stdin and stdout.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Let assistants search and look at what is there: tools of the Model Context Protocol.

    A client starts it and ends it. It only reads, with the rights of its login. Queries are
    answered by a `pipeline serve` that runs. Exits 0 on SIGTERM or SIGINT.

    Example: pipeline mcp
    """
    from pipeline.integrations.mcp.reader import Reader
    from pipeline.integrations.mcp.server import mcp_server
    from pipeline.settings import Settings

    settings = Settings.load()
    with Reader(settings) as reader:
        if http is not None:
            _answer_http(http, reader, settings)
            return
        StopSignals(_OnStdin(reader))
        note("answering a client on stdin and stdout; it ends with stdin")
        mcp_server(reader).run("stdio")


class _OnStdin:
    """A process that waits for its client's next word, which nothing but its end interrupts."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    def stop(self) -> None:
        self._reader.close()
        end_now(0)


def _answer_http(address: str, reader: "Reader", settings: "Settings") -> None:
    from pipeline.embeddings_api.address import listen, parse
    from pipeline.integrations.mcp.over_http import OverHttp
    from pipeline.integrations.mcp.server import mcp_server

    needs = "let a proxy that knows who may ask stand there instead"
    with listen(parse(address), has_token=False, needs=needs) as listening:
        over_http = OverHttp(mcp_server(reader), listening, grace_seconds=settings.grace_seconds)
        StopSignals(over_http)
        with over_http:
            note(f"answering clients at {over_http.url}; stop with Ctrl-C")
            over_http.run()
    if over_http.is_broken:
        raise PipelineError("the HTTP server ended by itself; its log says why")
