"""``pipeline serve``: turns query texts into vectors for ``text_embedding()``, in any session.

The database is the only door: a request is a row of ``query_embeddings`` without a vector, the
answer is its vector. So no port is opened, nothing is configured in the server, and several of
these processes share the requests (each claims what it embeds, under a lease).

Needs a connection of its own: through PgBouncer's transaction mode neither LISTEN nor the advisory
lock that says "somebody serves" would hold.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from pipeline import spaces
from pipeline.embedders import Embedder
from pipeline.postgres.connections import Connection
from pipeline.postgres.reconnect import Outage, ReconnectingConnection, Stopped
from pipeline.search import query_vectors
from pipeline.search.announcement import announce
from pipeline.search.query_encoding import embed_query_texts
from pipeline.settings import DEFAULT_SCHEMA
from pipeline.spaces import Space

logger = logging.getLogger(__name__)

CHANNEL = "query_embeddings"
FORGET_SECONDS = 3600.0


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
        poll_seconds: how long to wait for a notification before looking anyway.
        outage_seconds: how long to wait for a database that is away.
        schema: that of our tables.
    """

    batch_size: int = 64
    cache_size: int = 10_000
    retention_days: float = 90.0
    asker_limit: int = 5_000
    queue_limit: int = 20_000
    poll_seconds: float = 0.5
    outage_seconds: float = 300.0
    schema: str = DEFAULT_SCHEMA


@dataclass
class ServeReport:
    """What a server has done so far."""

    answered: int = 0
    refused: int = 0
    batches: int = 0
    forgotten: int = 0


class QueryServer:
    """Answers requests for query vectors of the active space until it is told to stop.

    Args:
        url: the database.
        load: gives the model of a space; called again when another space becomes active.
    """

    def __init__(
        self, url: str, load: Callable[[Space], Embedder], options: ServeOptions | None = None
    ) -> None:
        self.report = ServeReport()
        self.ready = threading.Event()
        self._load = load
        self._options = options or ServeOptions()
        self._stop = threading.Event()
        self._connection = ReconnectingConnection(
            url,
            "pipeline serve",
            Outage(self._options.outage_seconds, self._stop),
            schema=self._options.schema,
        )
        self._model: tuple[Space, Embedder] | None = None
        self._announced: tuple[Connection, int] | None = None
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
            self._connection.close()
        return self.report

    def answer_once(self) -> int:
        """Embed and answer the requests that wait, at most a batch; returns how many."""
        space = self._connection.run(spaces.active_space)
        if self._model is None or self._model[0].id != space.id:
            logger.info("loading the model of the space", extra={"space": space.name})
            self._model = (space, self._load(space))
        self._connection.run(lambda c: self._announce(c, space.id))
        self.ready.set()
        claimed = self._connection.run(
            lambda c: query_vectors.claim(c, space.id, self._options.batch_size)
        )
        if claimed:
            vectors, errors = embed_query_texts(self._model[1], claimed)
            for error in errors.values():
                logger.warning("a query text cannot be embedded: %s", error.message)
            refused = {key: error.message for key, error in errors.items()}
            self._connection.run(lambda c: query_vectors.answer(c, space.id, vectors, refused))
            self.report.batches += 1
            self.report.answered += len(vectors)
            self.report.refused += len(errors)
            self._since_forgetting += len(claimed)
        self._forget(space.id)
        return len(claimed)

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

    def _announce(self, connection: Connection, space_id: int) -> None:
        """Say that this space is served; anew after a reconnect."""
        if self._announced == (connection, space_id):
            return
        announce(connection, space_id, self._options.asker_limit, self._options.queue_limit)
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        self._announced = (connection, space_id)

    def _wait(self, connection: Connection) -> None:
        # A notification that arrived since the last look is there already, and ends the wait.
        for _ in connection.notifies(timeout=self._options.poll_seconds, stop_after=1):
            pass
