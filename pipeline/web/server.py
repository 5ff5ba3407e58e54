"""The pages by themselves: what ``pipeline web`` runs."""

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Self

from pipeline.errors import MissingExtra
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool
from pipeline.postgres.reading import Reading
from pipeline.postgres.rights import EMBED, REMOVE
from pipeline.settings import Settings
from pipeline.sources.media_roots import known_media_roots
from pipeline.waits import wait
from pipeline.web.answering import Answering
from pipeline.web.application import application
from pipeline.web.finding import Finder
from pipeline.web.images import Cache, Images
from pipeline.web.options import WebOptions
from pipeline.web.parts import Parts

try:
    from pipeline.embeddings_api.server import HttpServer
except ImportError as exc:
    raise MissingExtra("pipeline web", "web") from exc

CONNECTIONS = 8
# Seconds that a page waits for a database that is away; Prometheus gives `/metrics` up after ten.
PATIENCE = 5.0
# Of browsers, each of which has some six.
CLIENTS = 200


class WebServer:
    """Answers from when it is entered until it is left; ``run`` waits for :meth:`stop`.

    Args:
        listening: a socket that listens already.
        note: told in a sentence what takes long.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        options: WebOptions,
        listening: socket.socket,
        note: Callable[[str], None],
    ) -> None:
        self._stopped = threading.Event()
        if options.allows_writes:
            for need in (EMBED, REMOVE):
                database.open("pipeline web", needs=need).close()
        self._pool = DatabasePool(database, "pipeline web", CONNECTIONS, patience=PATIENCE)
        self._answering = Answering(database, settings, note)
        self._images = Images(
            settings,
            partial(known_media_roots, database, "pipeline web"),
            Cache(options.cache_folder, options.cache_bytes),
        )
        reading = Reading(self._pool)
        finder = Finder(
            reading,
            options.read,
            loads=True,
            device=settings.device,
            wait=self._answering.wait,
        )
        own = Reading(self._pool, lowers=False) if options.allows_writes else None
        settled = self._answering.is_settled
        self._server = HttpServer(
            application(Parts(options, reading, finder, self._images, own, settled)),
            listening,
            grace_seconds=settings.grace_seconds,
            connections=CLIENTS,
        )
        self._server.telling(self.stop)

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self._server.url

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
        self._answering.start()
        self._server.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._answering.stop()
        self._images.close()
        self._pool.close()
