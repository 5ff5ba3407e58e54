"""The tools by streamable HTTP, for who asks this very machine."""

import socket
import threading
from typing import Any, Self

from mcp.server.mcpserver import MCPServer

from pipeline.embeddings_api.server import HttpServer
from pipeline.waits import wait

# Of one request: an image in base64, and its envelope.
BODY_BYTES = 32 * 2**20
CLIENTS = 64


class OverHttp:
    """Answers from when it is entered until it is left; ``run`` waits for :meth:`stop`.

    Requests stand by themselves: no client has a session that would have to end. Those that name
    another host than loopback's, or come from a page of another site, are refused.

    Args:
        listening: a socket that listens already, at loopback.
    """

    def __init__(
        self, server: MCPServer[Any], listening: socket.socket, *, grace_seconds: float
    ) -> None:
        self._stopped = threading.Event()
        app = server.streamable_http_app(
            json_response=True, stateless_http=True, max_request_body_size=BODY_BYTES
        )
        self._server = HttpServer(
            app,
            listening,
            grace_seconds=grace_seconds,
            connections=CLIENTS,
            has_lifespan=True,
        )
        self._server.telling(self.stop)

    @property
    def url(self) -> str:
        """Such as ``http://127.0.0.1:8766/mcp``."""
        return f"{self._server.url}/mcp"

    @property
    def is_broken(self) -> bool:
        """Whether it ended by itself."""
        return self._server.is_broken

    def stop(self) -> None:
        """End :meth:`run`."""
        self._stopped.set()

    def run(self) -> None:
        """Until somebody stops it."""
        wait(self._stopped)

    def __enter__(self) -> Self:
        self._server.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
