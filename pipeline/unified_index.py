"""One index over texts and images, in the article's own vocabulary.

index = build_unified_index(["a red bicycle", ...], ["photos/bike.jpg", ...])
index.retrieve_cross_modal("something to ride", top_k=5, filter_modality=ModalityType.IMAGE)
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from psycopg import sql

from pipeline import spaces
from pipeline.errors import ConfigurationError, RowError
from pipeline.ingest.run import ingest
from pipeline.modalities import RANKINGS
from pipeline.modalities.text.cleaning import clean_text, redact
from pipeline.postgres.connections import Connection, errors_of_ours, open_database
from pipeline.queue.failures import failed_rows
from pipeline.search import query_vectors
from pipeline.search.results import ModalityType, MultimodalDocument, Neighbour
from pipeline.search.select import Modality, check_modality
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.spaces import Space
from pipeline.vectors import unit_rows

Query = str | Path | Image.Image | npt.NDArray[Any] | Sequence[float] | int

_SEARCH = sql.SQL(
    """
    SELECT rank, id, source_id, part, modality, content_ref, metadata, similarity, score,
        {embedding}
    FROM search_items({query}, modality => %(modality)s::text[], k => %(k)s,
        filter => %(filter)s::jsonb, min_similarity => %(least)s::real,
        ranking => %(ranking)s) AS found
    ORDER BY rank
    """
)
_EMBEDDING = sql.SQL(
    """
    (SELECT i.embedding::real[] FROM multimodal_items AS i
     WHERE i.id = found.id AND i.modality = found.modality)
    """
)
_LIKE_ITEM = sql.SQL("like_item => %(query)s::bigint")
_LIKE_VECTOR = sql.SQL("embedding => %(query)s::halfvec, query_modality => %(of)s::text")


class UnifiedIndex:
    """Cross-modal retrieval over ``multimodal_items``. The model is loaded when a query needs it.

    Args:
        settings: None: from the environment, see ``pipeline.settings``.
        embedder: the active space's model, if the caller has it loaded already.
    """

    def __init__(self, settings: Settings | None = None, embedder: Any | None = None) -> None:
        self.settings = settings or Settings.load()
        self._connection: Connection = open_database(self.settings, role="pipeline search")
        self._embedder = embedder
        self.failures: list[str] = []

    @property
    @errors_of_ours()
    def space(self) -> Space:
        """The active space; asked anew each time, since it may change under a running process."""
        return spaces.active_space(self._connection)

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
        with_embeddings: bool = False,
    ) -> list[Neighbour]:
        """The ``top_k`` items nearest to a query, best first.

        Args:
            query: a text; a picture (an image, or a ``Path`` to one); a vector (D,); or the
                number of a stored item.
            filter_modality: text or image; None: both, ranked as ``ranking`` says.
            filter_metadata: what an item's metadata must contain.
            ranking: over both modalities: calibrated, raw or quota.
            with_embeddings: whether each document has its ``embedding``: (D,), float32.

        Raises:
            ConfigurationError: an argument cannot be used as given.
            DatabaseError: the database is lost or refuses.
            RowError: the picture or the text of the query cannot be embedded.
        """
        if not 1 <= top_k <= 10_000:
            raise ConfigurationError(f"top_k is from 1 to 10000, not {top_k}")
        if ranking not in RANKINGS:
            raise ConfigurationError(
                f"there is no ranking {ranking!r}; there are: {', '.join(RANKINGS)}"
            )
        name = check_modality(filter_modality)
        values: dict[str, Any] = {
            "modality": None if name is None else [name],
            "k": top_k,
            "filter": json.dumps(dict(filter_metadata or {})),
            "least": min_similarity,
            "ranking": ranking,
        }
        if isinstance(query, int):
            argument, values["query"] = _LIKE_ITEM, query
        else:
            argument = _LIKE_VECTOR
            vector, values["of"] = self._vector(query)
            values["query"] = "[" + ",".join(map(repr, vector.tolist())) + "]"
        search = _SEARCH.format(
            query=argument, embedding=_EMBEDDING if with_embeddings else sql.NULL
        )
        rows = self._connection.execute(search, values).fetchall()
        return [
            Neighbour(
                rank=rank,
                document=MultimodalDocument(
                    id=item_id,
                    modality=ModalityType(modality),
                    content_ref=content_ref,
                    # Of a halfvec's components: its length is 1 to three digits only.
                    embedding=None if embedding is None else unit_rows([embedding])[0],
                    metadata=metadata,
                ),
                source_id=source_id,
                part=part,
                similarity=similarity,
                score=score,
            )
            for (
                rank,
                item_id,
                source_id,
                part,
                modality,
                content_ref,
                metadata,
                similarity,
                score,
                embedding,
            ) in rows
        ]

    def _vector(self, query: Query) -> tuple[npt.NDArray[np.float32], str | None]:
        """The unit vector of a query, and its modality where it is known."""
        if isinstance(query, str):
            return self.embed_query(query), "text"
        if isinstance(query, Path):
            return self.embedder.embed_images([read_image(query, self.settings)])[0], "image"
        if isinstance(query, Image.Image):
            return self.embedder.embed_images([query])[0], "image"
        vector = unit_rows(np.asarray(query, dtype=np.float32).reshape(1, -1))[0]
        if not np.isfinite(vector).all() or len(vector) != self.space.dimensions:
            raise ConfigurationError(
                f"a query vector has {self.space.dimensions} finite numbers, not all zero; "
                f"this one has {len(vector)}"
            )
        return vector, None

    @errors_of_ours()
    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        """The unit vector of a text: cached where ``text_embedding()`` caches, or embedded now."""
        space, clean = self.space, clean_text(text)
        cached = query_vectors.read(self._connection, space.id, text)
        if cached is not None:
            return cached
        vector: npt.NDArray[np.float32] = self.embedder.embed_text([clean])[0]
        query_vectors.store(self._connection, space.id, text, vector)
        return vector

    @property
    def embedder(self) -> Any:
        """The active space's model, loaded at the first use."""
        if self._embedder is None:
            from pipeline.embedders.openclip.embedder import MultimodalEmbedder  # loads torch

            space = self.space
            self._embedder = MultimodalEmbedder(
                space.model, device=self.settings.device, precision=space.precision
            )
            spaces.check_model(space, self._embedder.description)
        return self._embedder

    @errors_of_ours()
    def __len__(self) -> int:
        row = self._connection.execute("SELECT count(*) FROM multimodal_items").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "UnifiedIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_image(path: Path, settings: Settings) -> Image.Image:
    """A picture for a query, through the same safe intake as the rows of the source table.

    Raises:
        ConfigurationError: naming the file and what is wrong with it.
    """
    from pipeline.loaders import Loader
    from pipeline.modalities.image.decoder import ImageDecoder

    path = path.expanduser().absolute()
    try:
        # The person at the keyboard names the file, so its folder is allowed for this once.
        with Loader(settings, [path.resolve().parent]) as loader, ImageDecoder(settings) as decoder:
            return decoder.decode(loader.load(str(path.resolve())).data).image
    except RowError as exc:
        raise ConfigurationError(f"{path}: {exc.message}") from exc


def build_unified_index(
    text_docs: Iterable[str | Mapping[str, Any]],
    image_paths: Iterable[str | Path],
    *,
    source: str = "documents",
    settings: Settings | None = None,
) -> UnifiedIndex:
    """Add texts and pictures, embed what is new, and return the index over everything stored.

    Calling it again with the same arguments changes nothing.

    Args:
        text_docs: texts, or mappings with ``text`` and anything else as metadata (``id``, if
            given, is the key).
        image_paths: paths or URIs of pictures.
        source: the name under which the rows stand in ``source_items``.

    Returns:
        The index; ``index.failures`` names the rows that could not be embedded, and why.
    """
    settings = settings or Settings.load()
    with open_database(settings) as connection:
        report = source_items.AddReport()
        source_items.add(connection, _text_rows(text_docs, source), report)
        images = [str(path) for path in image_paths]
        local = [Path(path).expanduser().absolute() for path in images if "://" not in path]
        source_items.register_roots(connection, {path.parent for path in local})
        rows = (
            source_items.NewSource(source, reference, "image", reference)
            for path in images
            for reference in [path if "://" in path else str(Path(path).expanduser().absolute())]
        )
        source_items.add(connection, rows, report)
    ingest(settings)
    index = UnifiedIndex(settings)
    with open_database(settings) as connection:
        index.failures = [
            f"{redact(row.source_key)}: {row.code}: {row.error}"
            for row in failed_rows(connection, index.space.id, 10_000)
            if row.source == source
        ]
    return index


def _text_rows(
    docs: Iterable[str | Mapping[str, Any]], source: str
) -> Iterable[source_items.NewSource]:
    for doc in docs:
        if isinstance(doc, str):
            yield source_items.text_row(doc, source)
            continue
        if not isinstance(doc.get("text"), str):
            raise ConfigurationError(f"a text document needs a 'text'; this one has {list(doc)}")
        row = source_items.text_row(doc["text"], source)
        metadata = {name: value for name, value in doc.items() if name not in {"id", "text"}}
        key = str(doc.get("id", row.source_key))
        yield source_items.NewSource(source, key, "text", row.content_ref, metadata)


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
