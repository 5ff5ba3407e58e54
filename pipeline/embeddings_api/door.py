"""The API's server: listens, answers in threads, and ends in good order. Needs uvicorn."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from pipeline.embeddings_api.answering import Answers
from pipeline.embeddings_api.app import application
from pipeline.embeddings_api.asked import MOST_INPUTS, Limits
from pipeline.embeddings_api.batching import Batcher
from pipeline.embeddings_api.bodies import Bodies
from pipeline.embeddings_api.served import Current
from pipeline.embeddings_api.server import HttpServer
from pipeline.modalities import ReadOptions

# Of one request, unless all together have less than four times as much.
BODY_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How the API works.

    Attributes:
        token: that each request has to send; empty: none.
        inputs: of one request at most.
        text_bytes: of one text, in UTF-8.
        body_bytes: of one request at most.
        bytes_in_all: of all requests that wait or are answered.
        threads: requests that are answered at the same time; others wait.
        grace_seconds: for what is being answered when it ends.
        read: what an image may take that is decoded.
    """

    token: str = ""
    inputs: int = MOST_INPUTS
    text_bytes: int = 2**20
    body_bytes: int = BODY_BYTES
    bytes_in_all: int = 512 * 2**20
    threads: int = 32
    grace_seconds: float = 30.0
    read: ReadOptions = field(default_factory=ReadOptions)


class Door:
    """Answers requests in threads of its own from :meth:`open` until :meth:`close`.

    Args:
        listening: a socket that listens already.

    Attributes:
        current: which model is served.
        batcher: what embeds.
    """

    def __init__(self, listening: socket.socket, options: ApiOptions | None = None) -> None:
        options = options or ApiOptions()
        self.current = Current(options.read)
        self.batcher = Batcher()
        self._threads = ThreadPoolExecutor(options.threads, "embeddings api")
        limits = Limits(options.inputs, options.text_bytes, options.read.max_bytes)
        app = application(
            Answers(self.current, self.batcher, limits),
            self._threads,
            Bodies(options.body_bytes, options.bytes_in_all),
            options.token,
        )
        self._server = HttpServer(app, listening, grace_seconds=options.grace_seconds)

    @property
    def is_broken(self) -> bool:
        """Whether it ended by itself."""
        return self._server.is_broken

    @property
    def url(self) -> str:
        """Such as ``http://127.0.0.1:8080/v1``."""
        return f"{self._server.url}/v1"

    def open(self) -> None:
        """Begin to answer; until there is a model, with 503."""
        self._server.open()

    def close(self) -> None:
        """Finish what is being answered, and end."""
        self._server.finish()
        self._threads.shutdown(cancel_futures=True)
        self.batcher.close()
        self.current.close()
        self._server.close()

    def telling(self, ended: Callable[[], None]) -> Self:
        """The same; ``ended`` is called where the server ends by itself."""
        self._server.telling(ended)
        return self

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
