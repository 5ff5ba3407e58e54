"""What ``pipeline serve --http`` opens beside its work for the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.embeddings_api.door import Door
    from pipeline.settings import Settings


Http = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Also answer OpenAI's embeddings API there, such as 127.0.0.1:8080.",
        show_default=False,
    ),
]


def http_door(address: str, settings: "Settings") -> "Door":
    """What listens at ``HOST:PORT`` from now on, and answers once it is opened.

    Raises:
        ConfigurationError: it cannot listen there, or wants a token to do so.
        MissingExtra: the extra ``http`` is not installed.
    """
    from pipeline.embeddings_api.address import listen, parse
    from pipeline.embeddings_api.door import BODY_BYTES, ApiOptions, Door
    from pipeline.modalities import ReadOptions

    token = settings.serve_token.get_secret_value() if settings.serve_token else ""
    options = ApiOptions(
        token=token,
        text_bytes=settings.max_text_bytes,
        bytes_in_all=settings.query_queue_bytes,
        body_bytes=min(BODY_BYTES, settings.query_queue_bytes // 4),
        grace_seconds=settings.grace_seconds,
        read=ReadOptions.of(settings),
    )
    return Door(listen(parse(address), has_token=bool(token)), options)


@contextmanager
def opened(door: "Door | None", stop: Callable[[], None]) -> Iterator[None]:
    """Open while the block runs; ``stop`` is called where it ends by itself.

    Raises:
        PipelineError: it did.
    """
    if door is None:
        yield
        return
    with door.telling(stop):
        note(f"embeddings at {door.url}")
        yield
    if door.is_broken:
        raise PipelineError("the HTTP server ended by itself; its log says why")
