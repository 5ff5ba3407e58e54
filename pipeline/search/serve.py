"""``pipeline serve``: turns query texts into vectors for ``text_embedding()``, in any session.

The database is the only door: a request is a row of ``query_embeddings`` without a vector, the
answer is its vector. So no port is opened, nothing is configured in the server, and several of
these processes share the requests (each claims what it embeds, under a lease).

Needs a connection of its own: through PgBouncer's transaction mode neither LISTEN nor the advisory
lock that says "somebody serves" would hold.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from pipeline import spaces
from pipeline.embedders import Embedder
from pipeline.postgres.connections import Connection
from pipeline.postgres.reconnect import Outage, ReconnectingConnection, Stopped
from pipeline.search import query_vectors
from pipeline.search.query_encoding import embed_query_texts
from pipeline.spaces import Space

logger = logging.getLogger(__name__)

CHANNEL = "query_embeddings"
# Class of the advisory lock ('pqry') that says for which space somebody serves; its second number
# is the space's. The SQL function is_served() looks for it.
LOCK_CLASS = 0x70717279


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
        batch_size: most texts per forward pass. Requests that come while a batch is embedded
            make up the next one.
        cache_size: how many query vectors a space keeps; the least recently used go.
        poll_seconds: how long to wait for a notification before looking anyway.
        outage_seconds: how long to wait for a database that is away.
    """

    def __init__(
        self,
        url: str,
        load: Callable[[Space], Embedder],
        *,
        batch_size: int = 64,
        cache_size: int = 10_000,
        poll_seconds: float = 0.5,
        outage_seconds: float = 300.0,
    ) -> None:
        self.report = ServeReport()
        self.ready = threading.Event()
        self._load = load
        self._batch_size = batch_size
        self._cache_size = cache_size
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._connection = ReconnectingConnection(
            url, "pipeline serve", Outage(outage_seconds, self._stop)
        )
        self._model: tuple[Space, Embedder] | None = None
        self._announced: tuple[Connection, int] | None = None
        self._since_forgetting = cache_size

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
        claimed = self._connection.run(lambda c: query_vectors.claim(c, space.id, self._batch_size))
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
        # Not at every answer: the cache may be 5 % larger for a while.
        if self._since_forgetting > self._cache_size // 20:
            self._since_forgetting = 0
            self.report.forgotten += self._connection.run(
                lambda c: query_vectors.forget(c, space.id, self._cache_size)
            )
        return len(claimed)

    def _announce(self, connection: Connection, space_id: int) -> None:
        """Hold the lock that says that this space is served; anew after a reconnect."""
        if self._announced == (connection, space_id):
            return
        connection.execute("SELECT pg_advisory_unlock_all()")
        connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, space_id))
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        self._announced = (connection, space_id)

    def _wait(self, connection: Connection) -> None:
        # A notification that arrived since the last look is there already, and ends the wait.
        for _ in connection.notifies(timeout=self._poll_seconds, stop_after=1):
            pass


def configure_loopback(
    connection: Connection, password: str, *, host: str = "127.0.0.1", port: int | None = None
) -> None:
    """Let ``text_embedding()`` reach the server itself by password, as the functions' owner.

    Needed where that owner is no superuser. The password is kept in a user mapping that the
    owner alone may read; it travels as a parameter, so no statement log shows it.
    """
    connection.execute(
        "CALL configure_loopback(password => %s::text, host => %s::text, port => %s::integer)",
        (password, host, port),
    )
