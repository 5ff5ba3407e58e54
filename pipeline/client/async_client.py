"""The client of an event loop: every method of ``Client``, to be awaited.

async with AsyncClient("postgresql://user@host/database") as client:
    await client.search("a red bicycle", modality="image", k=5)
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from pipeline.client.tasks import TasksDesk
from pipeline.postgres.async_pool import AsyncDatabasePool, AsyncPool, take
from pipeline.postgres.connections import errors_of_ours
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool
from pipeline.search import asking, retrieve
from pipeline.search.asking import Unanswered
from pipeline.search.desk import MOST_TEXTS
from pipeline.search.results import Neighbour, Ranking, RowNeighbour
from pipeline.search.retrieve import Probe
from pipeline.settings import Settings
from pipeline.tracing import span
from pipeline.vectors import Vectors

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from pipeline.search.queries import Queries

logger = logging.getLogger(__name__)


class AsyncClient:
    """Searches and embeds, for any number of tasks of one event loop.

    Nothing is connected before the first call. What a cancelled call asked ``pipeline serve`` for
    is forgotten, at the latest in a minute.

    Args:
        engine: the application's ``AsyncEngine``, of ``postgresql+psycopg`` or
            ``postgresql+asyncpg``.
        model: as of ``Client``; it loads and embeds in threads, by connections of its own, so with
            an engine a URL or settings say where.

    The other arguments and errors are those of ``Client``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        engine: "AsyncEngine | None" = None,
        settings: Settings | None = None,
        model: Model = None,
        timeout: float | None = TIMEOUT_SECONDS,
        connections: int = CONNECTIONS,
        purpose: str = PURPOSE,
        note: Callable[[str], None] = logger.info,
    ) -> None:
        options = options_of(url, engine, settings, model, timeout, connections)
        self._options = options
        self._model = model
        self._purpose = purpose
        self._note = note
        self._loading = asyncio.Lock()
        self._queries: Queries | None = None
        self._threads: DatabasePool | None = None
        self._pool: AsyncPool
        if engine is None:
            self._pool = AsyncDatabasePool(
                Database.of(options.settings),
                purpose,
                options.connections,
                seconds=options.timeout or 0.0,
            )
        else:
            # Late: only who has an engine has imported SQLAlchemy.
            from pipeline.postgres.async_engine_pool import AsyncEnginePool

            self._pool = AsyncEnginePool(engine, options.settings.database_schema)
        self._desk = TasksDesk(self._pool)

    async def search(
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
        """As ``Client.search``."""
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        query = query_of(text, image, item, vector, blend)
        with span("search"), errors_of_ours():
            probe = await self.probe(query)
            with span("retrieve"):
                return await take(self._pool, retrieve.items(probe, of))

    async def similar(
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
        """As ``Client.similar``."""
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        query = query_of(None, None, item, None, None)
        with span("search"), errors_of_ours():
            probe = await self.probe(query)
            with span("retrieve"):
                return await take(self._pool, retrieve.items(probe, of))

    async def rows(
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
        """As ``Client.rows``."""
        of = wanted(modality, k, filter, min_similarity, ranking, with_embeddings)
        query = query_of(text, image, item, vector, blend)
        contents = contents_of(content)
        with span("search"), errors_of_ours():
            probe = await self.probe(query)
            with span("retrieve"):
                return await take(self._pool, retrieve.rows_of(name, contents, probe, of))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As ``Client.embed``."""
        with errors_of_ours():
            if self._model is not None:
                from pipeline.client import local

                queries = await self._local()
                return await asyncio.to_thread(local.vectors_of, queries, texts)
            return await self._vectors(texts)

    async def count(self) -> int:
        """As ``Client.count``."""
        with errors_of_ours():
            return await take(self._pool, served.count())

    async def probe(self, query: Query) -> Probe:
        """As ``Client.probe``."""
        with span("query_vectors"), errors_of_ours():
            settings = self._options.settings
            texts, files = query.texts(), query.files()
            if self._model is not None and (texts or files):
                from pipeline.client import local

                queries = await self._local()
                return await asyncio.to_thread(local.probe_of, queries, query, settings)
            found = await self._vectors(texts) if texts else ()
            vectors = dict(zip(texts, found, strict=True))
            of_files = {}
            for file in files:
                data, name = await asyncio.to_thread(bytes_of, file, settings)
                steps = served.file_vector(data, name, self._options.timeout)
                of_files[id(file)] = await take(self._pool, steps)
            return probe_of(query, vectors.__getitem__, lambda file: of_files[id(file)])

    async def _vectors(self, texts: Sequence[str]) -> Vectors:
        """Of texts, by whoever serves."""
        asked = served.checked(texts)
        found = [
            await self._of_some(asked[begin : begin + MOST_TEXTS])
            for begin in range(0, len(asked), MOST_TEXTS)
        ]
        return np.concatenate(found) if found else await take(self._pool, served.no_vectors())

    async def _of_some(self, texts: Sequence[str]) -> Vectors:
        known = await take(self._pool, asking.known_here(texts))
        if known is not None:
            return known
        try:
            return await self._desk.ask(texts, self._options.timeout)
        except Unanswered as why:
            raise served.not_served(why) from why

    async def _local(self) -> "Queries":
        """What may load a model, in threads, with connections that threads can use."""
        # Late: it brings the rooms of the models along, which few clients need.
        from pipeline.client.local import queries_of

        async with self._loading:
            if self._queries is None:
                settings, seconds = self._options.settings, self._options.timeout
                size = min(4, self._options.connections)
                self._threads = await asyncio.to_thread(
                    lambda: DatabasePool(
                        Database.of(settings), self._purpose, size, seconds=seconds or 0.0
                    )
                )
                given = None if isinstance(self._model, str) else self._model
                self._queries = queries_of(self._threads, given, settings, seconds, self._note)
            return self._queries

    async def close(self) -> None:
        """Give its connections back; nothing can be searched by it afterwards."""
        await self._desk.close()
        await self._pool.close()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.close)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
