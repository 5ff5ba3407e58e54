"""The embeddings API over the fake model, in this process."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.embeddings_api.door import ApiOptions, Door
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder


@contextmanager
def api(space: Space, model: FakeEmbedder | None = None, **options: Any) -> Iterator[Door]:
    listening = socket.create_server(("127.0.0.1", 0))
    with Door(listening, ApiOptions(**options)) as door:
        door.current.become(space, model or FakeEmbedder())
        yield door


def client(door: Door, token: str = "none") -> Any:
    """OpenAI's own, which asks once."""
    from openai import OpenAI

    return OpenAI(base_url=door.url, api_key=token, max_retries=0)
