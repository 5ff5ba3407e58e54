"""``pipeline serve``: turns queries into vectors for ``text_embedding()``, in any session, and for
clients that search by a text or a file.

The database is the only door: a request is a row of ``query_embeddings`` or ``query_files`` without
a vector, the answer is its vector. So no port is opened, nothing is configured in the server, and
several of these processes share the requests (each claims what it embeds, under a lease).

A connection of its own is best: it hears of a request at once, and its end is known at once. Behind
a pooler it looks for requests instead, see ``announcement.py``.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import psycopg
from psycopg import sql

from pipeline import spaces
from pipeline.embedders import Embedder
from pipeline.modalities import ReadOptions
from pipeline.postgres.connections import Connection
from pipeline.postgres.reconnect import Outage, ReconnectingConnection, Stopped
from pipeline.search import query_vectors
from pipeline.search.announcement import Announcement, Limits
from pipeline.search.query_encoding import embed_query_texts
from pipeline.search.serve_files import FileAnswers
from pipeline.search.serve_report import Answered, ServeReport
from pipeline.settings import DEFAULT_SCHEMA, Settings
from pipeline.spaces import Space
from pipeline.tracing import span

logger = logging.getLogger(__name__)

CHANNEL = "query_embeddings"
FORGET_SECONDS = 3600.0
# Between two looks: whether a file is decoded; and, behind a pooler, which passes no notifications
# on, whether anybody asks.
DECODING_SECONDS = 0.01
POOLED_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a server works.

    Attributes:
        batch_size: most texts per forward pass. Requests that come while a batch is embedded
            make up the next one.
        cache_size: how many query vectors a space keeps; the least recently used go.
        retention_days: after which a text that nobody asks for is forgotten.
        asker_limit: how many texts of one login at one address may wait.
        queue_limit: how many may wait in all.
        file_queue_bytes: of files that wait in all; of one login at one address a quarter.
        read: what a file may take that is decoded.
        poll_seconds: how long to wait for a notification before looking anyway.
        outage_seconds: how long to wait for a database that is away.
        schema: that of our tables.
    """

    batch_size: int = 64
    cache_size: int = 10_000
    retention_days: float = 90.0
    asker_limit: int = 5_000
    queue_limit: int = 20_000
    file_queue_bytes: int = 512 * 2**20
    read: ReadOptions = field(default_factory=ReadOptions)
    poll_seconds: float = 0.5
    outage_seconds: float = 300.0
    schema: str = DEFAULT_SCHEMA

    @classmethod
    def of(cls, settings: Settings, schema: str) -> Self:
        """As the settings say."""
        return cls(
            cache_size=settings.query_cache_size,
            retention_days=settings.query_retention_days,
            asker_limit=settings.query_queue_per_login,
            queue_limit=settings.query_queue,
            file_queue_bytes=settings.query_queue_bytes,
            read=ReadOptions.of(settings),
            outage_seconds=settings.outage_seconds,
            schema=schema,
        )

    @property
    def limits(self) -> Limits:
        """What may wait."""
        file = min(self.read.max_bytes, self.file_queue_bytes // 4)
        return Limits(self.asker_limit, self.queue_limit, file, self.file_queue_bytes)


class QueryServer:
    """Answers requests for query vectors of the active space until it is told to stop.

    Args:
        url: the database.
        load: gives the model of a space; called again when another space becomes active.
        serving: called whenever a space begins to be served: its model is loaded, and whoever
            asks ``is_served()`` hears so.
        told: called with what was answered, after it was.
    """

    def __init__(
        self,
        url: str,
        load: Callable[[Space], Embedder],
        options: ServeOptions | None = None,
        *,
        serving: Callable[[Space], None] = lambda space: None,
        told: Callable[[Answered], None] = lambda answered: None,
    ) -> None:
        self.report = ServeReport()
        self.ready = threading.Event()
        self._load = load
        self._serving = serving
        self._told = told
        self._options = options or ServeOptions()
        self._stop = threading.Event()
        self._connection = ReconnectingConnection(
            url,
            "pipeline serve",
            Outage(self._options.outage_seconds, self._stop),
            schema=self._options.schema,
        )
        self._model: tuple[Space, Embedder] | None = None
        self._files: FileAnswers | None = None
        self._announced: Announcement | None = None
        self._since_forgetting = 0
        self._forget_at = time.monotonic()

    def stop(self) -> None:
        """Answer what is claimed, then return from ``run``."""
        self._stop.set()

    def run(self) -> ServeReport:
        """Serve.

        Raises:
            SpaceError: no space is active.
            ModelError: the space's model cannot be loaded, or is another one.
            DatabaseError: the database stayed away.
        """
        try:
            while not self._stop.is_set():
                if not self.answer_once():
                    self._connection.run(self._wait)
        except Stopped:
            pass
        finally:
            self.ready.clear()
            self._withdraw()
            if self._files is not None:
                self._files.close()
            self._connection.close()
        return self.report

    def answer_once(self) -> int:
        """Embed and answer the requests that wait, at most a batch; returns how many."""
        space, model, files = self._opened(self._connection.run(spaces.active_space))
        self._connection.run(lambda c: self._announce(c, space))
        claimed = self._connection.run(
            lambda c: query_vectors.claim(c, space.id, self._options.batch_size)
        )
        if claimed:
            with span("serve", space=space.name, queries=len(claimed)):
                self._answer(space, model, claimed)
        answered = files.step()
        self.report.files += answered
        self._forget(space.id)
        return len(claimed) + answered

    def _answer(self, space: Space, model: Embedder, claimed: dict[bytes, str]) -> None:
        began = time.monotonic()
        with span("embed"):
            vectors, errors = embed_query_texts(model, claimed)
        for error in errors.values():
            logger.warning("a query text cannot be embedded: %s", error.message)
        refused = {key: error.message for key, error in errors.items()}
        with span("store"):
            self._connection.run(lambda c: query_vectors.answer(c, space.id, vectors, refused))
        self.report.batches += 1
        self.report.answered += len(vectors)
        self.report.refused += len(errors)
        self._since_forgetting += len(claimed)
        seconds = time.monotonic() - began
        self._told(Answered("texts", len(vectors), len(errors), seconds))

    def _opened(self, space: Space) -> tuple[Space, Embedder, FileAnswers]:
        """The space with its model, loaded if it is not the one of before."""
        if self._model is None or self._files is None or self._model[0].id != space.id:
            logger.info("loading the model of the space", extra={"space": space.name})
            if self._files is not None:
                self._files.close()
            self._files = None
            model = self._load(space)
            self._model = (space, model)
            self._files = FileAnswers(
                self._connection, space, model, self._options.read, self._told
            )
        return (*self._model, self._files)

    def _forget(self, space_id: int) -> None:
        # Not at every answer: the cache may be 5 % larger for a while.
        if (
            self._since_forgetting <= self._options.cache_size // 20
            and time.monotonic() < self._forget_at
        ):
            return
        self._since_forgetting = 0
        self._forget_at = time.monotonic() + FORGET_SECONDS
        self.report.forgotten += self._connection.run(
            lambda c: query_vectors.forget(
                c, space_id, self._options.cache_size, self._options.retention_days
            )
        )

    def _announce(self, connection: Connection, space: Space) -> None:
        """Say that this space is served; anew after a reconnect."""
        before = self._announced
        if before is not None and (before.connection, before.space_id) == (connection, space.id):
            before.repeat(connection)
            return
        self._announced = Announcement(connection, space.id, self._options.limits)
        if self._announced.is_direct:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        if before is not None and before.space_id != space.id:
            before.withdraw(connection)
        self.ready.set()
        if before is None or before.space_id != space.id:
            self._serving(space)

    def _withdraw(self) -> None:
        """Say that it is over; where that cannot be said, it shows."""
        if self._announced is not None and not self._announced.connection.closed:
            with contextlib.suppress(psycopg.Error):
                self._announced.withdraw(self._announced.connection)

    def _wait(self, connection: Connection) -> None:
        assert self._announced is not None
        is_decoding = self._files is not None and self._files.is_busy
        seconds = DECODING_SECONDS if is_decoding else self._options.poll_seconds
        if not self._announced.is_direct:
            self._stop.wait(min(seconds, POOLED_SECONDS))
            return
        # A notification that arrived since the last look is there already, and ends the wait.
        for _ in connection.notifies(timeout=seconds, stop_after=1):
            pass
