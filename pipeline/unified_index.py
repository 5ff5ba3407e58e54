"""One index over texts and images, in the article's own vocabulary.

index = build_unified_index(["a red bicycle", ...], ["photos/bike.jpg", ...])
index.retrieve_cross_modal("something to ride", top_k=5, filter_modality=ModalityType.IMAGE)
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import modalities
from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError, MissingExtra, RowError, SpaceError
from pipeline.ingest.run import ingest
from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities import TEXT, ReadOptions
from pipeline.postgres.connections import errors_of_ours, fetch_one
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool, Pool, run
from pipeline.queue.failures import failed_rows
from pipeline.references import expanded, redact, scheme_of
from pipeline.search import retrieve
from pipeline.search.queries import Queries
from pipeline.search.results import Neighbour
from pipeline.search.select import Modality, check_item, check_modality, check_number
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.sources.attached import check_free
from pipeline.sources.documents import image_rows, text_rows
from pipeline.sources.media_roots import register_roots
from pipeline.sources.source_items import AddReport
from pipeline.spaces import Space
from pipeline.vectors import Vectors, as_vector, unit_rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

logger = logging.getLogger(__name__)

Query = str | Path | bytes | Image.Image | npt.NDArray[Any] | Sequence[float] | int


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
        self._pool = _pool(self.settings, engine)
        self._queries = Queries(
            self._pool,
            embedder,
            device=self.settings.device,
            options=ReadOptions.of(self.settings),
            note=note,
        )
        self.failures: list[str] = []

    @property
    @errors_of_ours()
    def space(self) -> Space:
        """The active space; asked anew each time, since it may change under a running process."""
        return self._queries.space()

    @errors_of_ours()
    def retrieve_cross_modal(
        self,
        query: Query,
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
        wanted = retrieve.Wanted(
            k=check_number("top_k", top_k),
            modality=check_modality(filter_modality),
            metadata=filter_metadata or {},
            min_similarity=min_similarity,
            ranking=ranking,
            with_embeddings=with_embeddings,
        )
        if isinstance(query, (int, np.integer, np.bool_)):
            item = check_item(query, "the number of an item")
            return run(self._pool, lambda c: retrieve.like_item(c, item, wanted))
        vector, of_modality = self._vector(query, check_modality(query_modality))
        return run(self._pool, lambda c: retrieve.like_vector(c, vector, of_modality, wanted))

    def _vector(
        self,
        query: str | Path | bytes | Image.Image | npt.NDArray[Any] | Sequence[float],
        told: str | None = None,
    ) -> tuple[Vectors, str | None]:
        """The unit vector of a query, and its modality where it is known."""
        if isinstance(query, str):
            return self.embed_query(query), TEXT.name
        if isinstance(query, Path):
            vector, modality = self._of_file(query, told)
            return vector, modality.name
        if isinstance(query, (bytes, bytearray)):
            vector, modality = self._of_bytes("the bytes", bytes(query), told)
            return vector, modality.name
        accepting = modalities.accepting(query)
        if accepting is not None:
            decoded = accepting.decoded(query, ReadOptions.of(self.settings))
            return self._queries.of_decoded(accepting, decoded), accepting.name
        try:
            vector = unit_rows(as_vector(query).reshape(1, -1))[0]
        except (TypeError, ValueError) as exc:
            raise ConfigurationError(
                "a query is a text, an image, a Path, a vector of numbers or the number of an "
                f"item, not a {type(query).__name__}: {exc}"
            ) from exc
        if not np.isfinite(vector).all() or len(vector) != self.space.dimensions:
            raise ConfigurationError(
                f"a query vector has {self.space.dimensions} finite numbers, not all zero; "
                f"this one has {len(vector)}"
            )
        return vector, None

    def _of_file(self, path: Path, told: str | None) -> tuple[Vectors, modalities.Modality]:
        """The vector of a file, through the same safe intake as the rows of the source table.

        Raises:
            ConfigurationError: naming the file and what is wrong with it.
        """
        path = expanded(path).resolve()
        try:
            # The person at the keyboard names the file, so its folder is allowed for this once.
            with Loader(LoadOptions.of(self.settings), [path.parent]) as loader:
                data = loader.load(str(path)).data
        except RowError as exc:
            raise ConfigurationError(f"{redact(str(path))}: {exc.message}") from exc
        return self._of_bytes(str(path), data, told)

    def _of_bytes(
        self, name: str, data: bytes, told: str | None
    ) -> tuple[Vectors, modalities.Modality]:
        """The vector of a file's bytes, and its modality. Raises ConfigurationError."""
        try:
            return self._queries.of_file(data, told)
        except MissingExtra:
            raise
        except (RowError, ConfigurationError) as exc:
            raise ConfigurationError(f"{name}: {exc}") from exc

    @errors_of_ours()
    def embed_query(self, text: str) -> Vectors:
        """The unit vector of a text: cached where ``text_embedding()`` caches, or embedded now."""
        return self._queries.of_text(text)

    @property
    @errors_of_ours()
    def embedder(self) -> Embedder:
        """The active space's model, loaded into this process at the first use."""
        return self._queries.model(self._queries.space(), "the model itself is asked for")

    @errors_of_ours()
    def __len__(self) -> int:
        count = "SELECT count(*) FROM multimodal_items"
        return int(run(self._pool, lambda connection: fetch_one(connection.execute(count)))[0])

    def close(self) -> None:
        """Give its connections back; nothing can be searched by it afterwards."""
        self._pool.close()

    def __enter__(self) -> "UnifiedIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pool(settings: Settings, engine: "Engine | None") -> Pool:
    if engine is None:
        return DatabasePool(Database.of(settings), "pipeline search")
    # Late: only who has an engine has imported SQLAlchemy, which takes half a second.
    from pipeline.postgres.engine_pool import EnginePool

    return EnginePool(engine, settings.database_schema)


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
    query: Query,
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
