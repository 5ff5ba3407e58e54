"""One index over texts and images, in the article's own vocabulary.

index = build_unified_index(["a red bicycle", ...], ["photos/bike.jpg", ...])
index.retrieve_cross_modal("something to ride", top_k=5, filter_modality=ModalityType.IMAGE)
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.client.arguments import wanted as wanted_of
from pipeline.client.client import Client
from pipeline.client.query import Like, query_like
from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.ingest.run import ingest
from pipeline.postgres.database import Database
from pipeline.queue.failures import failed_rows
from pipeline.references import redact, scheme_of
from pipeline.search.arguments import Modality, check_modality
from pipeline.search.results import Neighbour
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.sources.attached import check_free
from pipeline.sources.documents import image_rows, text_rows
from pipeline.sources.media_roots import register_roots
from pipeline.sources.source_items import AddReport
from pipeline.spaces import Space
from pipeline.vectors import Vectors

if TYPE_CHECKING:
    from sqlalchemy import Engine

logger = logging.getLogger(__name__)


class UnifiedIndex:
    """Cross-modal retrieval over ``multimodal_items``, for any number of threads.

    Queries are embedded by a running ``pipeline serve``. Only where there is none is the model
    loaded into this process, once. Connections that were lost are replaced; a process that is
    forked off has its own, but should fork before a model is loaded.

    Args:
        settings: None: from the environment, see ``pipeline.settings``.
        embedder: the active space's model, if the caller has it loaded already.
        engine: the application's, of ``postgresql+psycopg``, to search through instead of by
            connections to ``settings.database_url``; it is not closed with the index.
        note: told in a sentence what takes long, such as a model that is loaded here.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        *,
        engine: "Engine | None" = None,
        note: Callable[[str], None] = logger.info,
    ) -> None:
        self.settings = settings or Settings.load()
        self._client = Client(
            settings=self.settings,
            engine=engine,
            model="local" if embedder is None else embedder,
            timeout=None,
            purpose="pipeline search",
            note=note,
        )
        self.failures: list[str] = []

    @property
    def space(self) -> Space:
        """The active space; asked anew each time, since it may change under a running process."""
        return self._client.space()

    def retrieve_cross_modal(
        self,
        query: Like,
        top_k: int = 10,
        filter_modality: Modality | None = None,
        *,
        filter_metadata: Mapping[str, Any] | None = None,
        min_similarity: float | None = None,
        ranking: str = "calibrated",
        query_modality: Modality | None = None,
        with_embeddings: bool = False,
    ) -> list[Neighbour]:
        """The ``top_k`` items nearest to a query, best first.

        Args:
            query: a text; an image as Pillow opened it, the bytes of a file or a ``Path`` to one;
                a vector (D,); or the number of a stored item.
            filter_modality: only items of this modality; None: of all, ranked as ``ranking`` says.
            filter_metadata: what an item's metadata must contain.
            ranking: over several modalities: calibrated, raw or quota.
            query_modality: what a file is taken for; None: what it begins like.
            with_embeddings: whether each document has its ``embedding``: (D,), float32.

        Raises:
            ConfigurationError: an argument cannot be used as given.
            DatabaseError: the database is lost or refuses.
            RowError: the image or the text of the query cannot be embedded.
        """
        wanted = wanted_of(
            check_modality(filter_modality),
            top_k,
            filter_metadata,
            min_similarity,
            ranking,
            with_embeddings,
            name_of_k="top_k",
        )
        return self._client.items_like(query_like(query, check_modality(query_modality)), wanted)

    def embed_query(self, text: str) -> Vectors:
        """The unit vector of a text: cached where ``text_embedding()`` caches, or embedded now."""
        vector: Vectors = self._client.embed([text])[0]
        return vector

    @property
    def embedder(self) -> Embedder:
        """The active space's model, loaded into this process at the first use."""
        return self._client.embedder()

    def __len__(self) -> int:
        return self._client.count()

    def close(self) -> None:
        """Give its connections back; nothing can be searched by it afterwards."""
        self._client.close()

    def __enter__(self) -> "UnifiedIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def build_unified_index(
    text_docs: Iterable[str | Mapping[str, Any]],
    image_paths: Iterable[str | Path],
    *,
    source: str = "documents",
    settings: Settings | None = None,
) -> UnifiedIndex:
    """Add texts and images, embed what is new, and return the index over everything stored.

    Calling it again with the same arguments changes nothing.

    Args:
        text_docs: texts, or mappings with ``text`` and anything else as metadata (``id``, if
            given, is the key).
        image_paths: paths or URIs of images.
        source: the name under which the rows stand in ``source_items``.

    Returns:
        The index; ``index.failures`` names the rows that could not be embedded, and why.

    Raises:
        ConfigurationError: naming the argument that is no text or no path, as ``text_docs[3]``, or
            holds what a database cannot.
        SpaceError: the active space is paused, so what is new was stored and not embedded.
    """
    settings = settings or Settings.load()
    database = Database.of(settings)
    with database.open() as connection:
        check_free(connection, source)
        report = AddReport()
        images = list(image_rows(image_paths, source))
        source_items.add(connection, text_rows(text_docs, source), report)
        files = [Path(i.content_ref) for i in images if scheme_of(i.content_ref) is None]
        register_roots(connection, {file.parent for file in files})
        source_items.add(connection, images, report)
    if report.errors:
        raise ConfigurationError(report.errors[0])
    if (done := ingest(settings, database=database)).held:
        raise SpaceError(f"{done.paused}; {done.held} rows wait")
    index = UnifiedIndex(settings)
    with database.open() as connection:
        index.failures = [
            f"{redact(row.source_key)}: {row.code}: {row.error}"
            for row in failed_rows(connection, index.space.id, 10_000)
            if row.source == source
        ]
    return index


def retrieve_cross_modal(
    query: Like,
    top_k: int = 10,
    filter_modality: Modality | None = None,
    *,
    with_embeddings: bool = False,
) -> list[Neighbour]:
    """:meth:`UnifiedIndex.retrieve_cross_modal` on the configured database, for one query."""
    with UnifiedIndex() as index:
        return index.retrieve_cross_modal(
            query, top_k, filter_modality, with_embeddings=with_embeddings
        )
