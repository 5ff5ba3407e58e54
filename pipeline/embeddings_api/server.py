"""An HTTP server in a thread of its own, which ends in good order. Needs uvicorn."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn


class HttpServer:
    """Answers from :meth:`open` until :meth:`finish`.

    Args:
        listening: a socket that listens already.
        grace_seconds: for what is being answered when it ends.
        connections: at most so many at a time; further ones get 503. None: any number.
        has_lifespan: whether the application is told when it begins and ends.

    Attributes:
        is_broken: whether it ended by itself.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        listening: socket.socket,
        *,
        grace_seconds: float,
        connections: int | None = None,
        has_lifespan: bool = False,
    ) -> None:
        self.is_broken = False
        self._listening = listening
        self._told: Callable[[], None] = lambda: None
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on" if has_lifespan else "off",
                ws="none",
                server_header=False,
                limit_concurrency=connections,
                timeout_graceful_shutdown=max(1, round(grace_seconds)),
            )
        )
        self._thread = threading.Thread(target=self._run, name="http")

    @property
    def url(self) -> str:
        """Such as ``http://127.0.0.1:8080``."""
        host, port, *_ = self._listening.getsockname()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def open(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def finish(self) -> None:
        """Answer what was asked, and no more."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """The same, and give the address back."""
        self.finish()
        self._listening.close()

    def telling(self, ended: Callable[[], None]) -> None:
        """``ended`` is called where the server ends by itself."""
        self._told = ended

    def _run(self) -> None:
        # Not in the main thread, so uvicorn leaves the signals to the command.
        try:
            self._server.run(sockets=[self._listening])
        finally:
            if not self._server.should_exit:
                self.is_broken = True
                self._told()
