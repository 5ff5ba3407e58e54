"""The client that blocks.

with Client("postgresql://user@host/database") as client:
    client.search("a red bicycle", modality="image", k=5)
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pipeline.client import served
from pipeline.client.arguments import (
    CONNECTIONS,
    PURPOSE,
    TIMEOUT_SECONDS,
    Modalities,
    Model,
    contents_of,
    options_of,
    wanted,
)
from pipeline.client.files import bytes_of
from pipeline.client.probes import probe_of
from pipeline.client.query import Blend, File, Query, Vector, query_of
from pipeline.client.threads import ThreadsDesk
from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import errors_of_ours
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool, Pool, run, take
from pipeline.postgres.steps import Steps
from pipeline.search import asking, retrieve
from pipeline.search.asking import Unanswered
from pipeline.search.desk import MOST_TEXTS
from pipeline.search.results import Neighbour, Ranking, RowNeighbour
from pipeline.search.retrieve import Probe
from pipeline.settings import Settings
from pipeline.tracing import span
from pipeline.vectors import Vectors

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.embedders import Embedder
    from pipeline.search.queries import Queries
    from pipeline.spaces import Space

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Client:
    """Searches and embeds, for any number of threads.

    Queries are embedded by a running ``pipeline serve``, which is asked through the database.
    Connections that were lost are replaced, and a call in the middle of which one was lost is made
    again; a server that restarts is waited for.

    Args:
        url: the database, in any form that people write; None: as the settings say.
        engine: the application's, of ``postgresql+psycopg``, to work through instead of connections
            of our own; it is not closed with the client, and its timeouts hold.
        settings: None: from the environment, see ``pipeline.settings``.
        model: None: only a running ``pipeline serve`` embeds. ``"local"``: where none runs, the
            active space's model is loaded into this process, which needs the extra ``embed``. Or
            that model, if the caller has it loaded.
        timeout: seconds that anything may take: to wait for a connection, for a vector, and for a
            statement where the session is ours alone, not that of a pooler. None: half a minute for
            a connection, a minute for a vector, any time for a statement.
        connections: most at a time; further calls wait for theirs.
        purpose: shown in ``pg_stat_activity.application_name``.
        note: told in a sentence what takes long, such as a model that is loaded here.

    Raises:
        ConfigurationError: an argument cannot be used as given.
        DatabaseError: the database cannot be reached, or lacks what is needed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        engine: "Engine | None" = None,
        settings: Settings | None = None,
        model: Model = None,
        timeout: float | None = TIMEOUT_SECONDS,
        connections: int = CONNECTIONS,
        purpose: str = PURPOSE,
        note: Callable[[str], None] = logger.info,
    ) -> None:
        options = options_of(url, engine, settings, model, timeout, connections)
        self._settings = options.settings
        self._seconds = options.timeout
        self._pool: Pool
        if engine is None:
            database = Database.of(options.settings)
            self._pool = DatabasePool(
                database, purpose, options.connections, seconds=options.timeout or 0.0
            )
        else:
            # Late: only who has an engine has imported SQLAlchemy.
            from pipeline.postgres.engine_pool import EnginePool

            self._pool = EnginePool(engine, options.settings.database_schema)
        self._desk = ThreadsDesk(self._pool)
        self._queries: Queries | None = None
        if model is not None:
            # Late, here and below: it brings the rooms of the models along, which few clients need.
            from pipeline.client.local import queries_of

            given = None if isinstance(model, str) else model
            self._queries = queries_of(self._pool, given, options.settings, options.timeout, note)

    def search(
        self,
        text: str | None = None,
        *,
        image: File | None = None,
        item: int | None = None,
        vector: Vector | None = None,
        blend: Blend | None = None,
        modality: Modalities = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (search_items() calls it so)
        min_similarity: float | None = None,
        ranking: Ranking | str = "calibrated",
        with_embeddings: bool = False,
    ) -> list[Neighbour]:
        """The ``k`` items nearest to a query, best first, one a source item.

        Args:
            text: the query; or instead of it one of the next four.
            image: an image as Pillow opened it, the bytes of a file, or a ``Path`` to one.
            item: the number of a stored item, which is left out itself.
            vector: (D,), such as :meth:`embed` gives.
            blend: pairs of any of these and its weight: ``[(42, 1), ("at night", 0.5)]``; a
                negative weight leads away.
            modality: only items of this one, or of several; None: of all.
            filter: what an item's metadata must contain.
            min_similarity: least cosine.
            ranking: over several modalities: calibrated, raw or quota.
            with_embeddings: whether each document has its ``embedding``: (D,), float32.

        Raises:
            ConfigurationError: an argument cannot be used as given.
            RowError: the image or the text cannot be embedded.
            NotServed: no ``pipeline serve`` runs, and there is no model here.
            DatabaseError: the database is lost or refuses, or a vector did not come in time.
        """
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        return self.items_like(query_of(text, image, item, vector, blend), of)

    def similar(
        self,
        item: int,
        *,
        modality: Modalities = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        min_similarity: float | None = None,
        ranking: Ranking | str = "calibrated",
        with_embeddings: bool = False,
    ) -> list[Neighbour]:
        """The ``k`` items nearest to a stored one, itself left out. As ``search(item=...)``."""
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        return self.items_like(query_of(None, None, item, None, None), of)

    def rows(
        self,
        name: str,
        text: str | None = None,
        *,
        image: File | None = None,
        item: int | None = None,
        vector: Vector | None = None,
        blend: Blend | None = None,
        content: str | Sequence[str] | None = None,
        modality: Modalities = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        min_similarity: float | None = None,
        ranking: Ranking | str = "calibrated",
        with_embeddings: bool = False,
    ) -> list[RowNeighbour]:
        """The ``k`` rows of an attached table nearest to a query, each by the best of its contents.

        Args:
            name: what the table is attached as.
            content: only by this content, or by several; None: by all.

        The other arguments and errors are those of :meth:`search`.
        """
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        contents = contents_of(content)
        with span("search"), errors_of_ours():
            probe = self.probe(query_of(text, image, item, vector, blend))
            with span("retrieve"):
                return self._take(retrieve.rows_of(name, contents, probe, of))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The unit vectors (n, D) of texts, float32, as queries; kept for whoever asks again.

        Raises:
            ConfigurationError, RowError: naming the text that cannot be embedded.
            NotServed, DatabaseError: as :meth:`search`.
        """
        with errors_of_ours():
            if self._queries is not None:
                from pipeline.client import local

                return local.vectors_of(self._queries, texts)
            return self._vectors(texts)

    def space(self) -> "Space":
        """The active space; asked anew each time, since it may change under a running process."""
        from pipeline import spaces

        with errors_of_ours():
            return run(self._pool, spaces.active_space)

    def count(self) -> int:
        """How many items can be found."""
        with errors_of_ours():
            return self._take(served.count())

    def embedder(self) -> "Embedder":
        """The active space's model, loaded into this process at the first use.

        Raises:
            ConfigurationError: this client has none, see its argument ``model``.
            ModelError, MissingExtra: it cannot be loaded.
        """
        if self._queries is None:
            raise ConfigurationError("this client has no model of its own; give it model='local'")
        with errors_of_ours():
            return self._queries.model(self._queries.space(), "the model itself is asked for")

    def items_like(self, query: Query, of: retrieve.Wanted) -> list[Neighbour]:
        """As :meth:`search`, of arguments that were read already."""
        with span("search"), errors_of_ours():
            probe = self.probe(query)
            with span("retrieve"):
                return self._take(retrieve.items(probe, of))

    def probe(self, query: Query) -> Probe:
        """What items are compared with, its texts and files as vectors. Raises as :meth:`search`.

        For who reads the items in a transaction of its own.
        """
        with span("query_vectors"), errors_of_ours():
            if self._queries is not None:
                from pipeline.client import local

                return local.probe_of(self._queries, query, self._settings)
            texts = query.texts()
            vectors = dict(zip(texts, self._vectors(texts), strict=True)) if texts else {}
            files = {id(file): self._of_file(file) for file in query.files()}
            return probe_of(query, vectors.__getitem__, lambda file: files[id(file)])

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        """Of texts, by whoever serves."""
        asked = served.checked(texts)
        found = [
            self._of_some(asked[begin : begin + MOST_TEXTS])
            for begin in range(0, len(asked), MOST_TEXTS)
        ]
        return np.concatenate(found) if found else self._take(served.no_vectors())

    def _of_some(self, texts: Sequence[str]) -> Vectors:
        known = self._take(asking.known_here(texts))
        if known is not None:
            return known
        try:
            return self._desk.ask(texts, self._seconds)
        except Unanswered as why:
            raise served.not_served(why) from why

    def _of_file(self, file: Any) -> tuple[Vectors, str]:
        data, name = bytes_of(file, self._settings)
        return self._take(served.file_vector(data, name, self._seconds))

    def _take(self, steps: Steps[T]) -> T:
        return take(self._pool, steps)

    def close(self) -> None:
        """Give its connections back; nothing can be searched by it afterwards."""
        self._pool.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
