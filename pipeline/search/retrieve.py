"""Retrieval by the database's own ``search_items()``, for those who have a vector or an item."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from pipeline.errors import ConfigurationError
from pipeline.modalities import ModalityType
from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import pack_vector
from pipeline.search.results import RANKINGS, MultimodalDocument, Neighbour, Ranking
from pipeline.vectors import Vectors, unit_rows

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
_BY_ITEM = sql.SQL("like_item => %(item)s::bigint")
_BY_VECTOR = sql.SQL("embedding => %(vector)s::halfvec, query_modality => %(of)s")
_EMBEDDING = sql.SQL(
    "(SELECT i.embedding::real[] FROM multimodal_items AS i "
    "WHERE i.id = found.id AND i.modality = found.modality)"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the neighbours is asked for.

    Attributes:
        k: how many, 1 to 10,000.
        modality: only of this one; None: of all, ranked as ``ranking`` says.
        metadata: what an item's metadata must contain.
        with_embeddings: whether each document has its ``embedding``: (D,), float32.

    Raises:
        ConfigurationError: one of them cannot be used as given.
    """

    k: int = 10
    modality: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    min_similarity: float | None = None
    ranking: Ranking | str = "calibrated"
    with_embeddings: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 10_000:
            raise ConfigurationError(f"top_k is from 1 to 10000, not {self.k}")
        if self.ranking not in RANKINGS:
            raise ConfigurationError(
                f"there is no ranking {self.ranking!r}; there are: {', '.join(RANKINGS)}"
            )


def like_item(connection: Connection, item: int, wanted: Wanted) -> list[Neighbour]:
    """The items nearest to a stored one, best first, itself left out."""
    return _search(connection, _BY_ITEM, {"item": item}, wanted)


def like_vector(
    connection: Connection, vector: Vectors, of_modality: str | None, wanted: Wanted
) -> list[Neighbour]:
    """The items nearest to a unit vector (D,), best first.

    Args:
        of_modality: what the vector was made from, where that is known.
    """
    packed = pack_vector(vector, "halfvec")
    return _search(connection, _BY_VECTOR, {"vector": packed, "of": of_modality}, wanted)


def _search(
    connection: Connection, query: sql.SQL, values: Mapping[str, Any], wanted: Wanted
) -> list[Neighbour]:
    statement = _SEARCH.format(
        query=query, embedding=_EMBEDDING if wanted.with_embeddings else sql.SQL("NULL")
    )
    found = allow_packed(connection.cursor()).execute(
        statement,
        {
            **values,
            "modality": None if wanted.modality is None else [wanted.modality],
            "k": wanted.k,
            "filter": json.dumps(dict(wanted.metadata)),
            "least": wanted.min_similarity,
            "ranking": wanted.ranking,
        },
    )
    return [_neighbour(*row) for row in found.fetchall()]


def _neighbour(
    rank: int,
    item_id: int,
    source_id: int,
    part: int,
    modality: str,
    content_ref: str,
    metadata: object,
    similarity: float,
    score: float,
    embedding: list[float] | None,
) -> Neighbour:
    document = MultimodalDocument(
        id=item_id,
        modality=_type_of(modality),
        content_ref=content_ref,
        # Of a halfvec's components: its length is 1 to three digits only.
        embedding=None if embedding is None else unit_rows([embedding])[0],
        # Whoever writes rows by SQL may have put anything there; callers look keys up in it.
        metadata=metadata if isinstance(metadata, dict) else {},
    )
    return Neighbour(rank, document, source_id, part, similarity, score)


def _type_of(modality: str) -> ModalityType | str:
    """Its member, or the bare name of one that this process does not know."""
    try:
        return ModalityType(modality)
    except ValueError:
        return modality
