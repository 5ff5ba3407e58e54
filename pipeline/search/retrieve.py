"""Retrieval by the database's own ``search_items()`` and ``search_rows()``, for clients that have
vectors or the numbers of items."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.modalities import ModalityType
from pipeline.postgres.steps import Statement, Steps
from pipeline.search.results import RANKINGS, MultimodalDocument, Neighbour, Ranking, RowNeighbour
from pipeline.vectors import Vectors, unit_rows

# What both functions take: a vector, an item, or a blend of several of either.
_ARGUMENTS = """
    embedding => CASE WHEN %(weights)s::real[] IS NULL THEN %(vector)s::text::halfvec
        ELSE blend_embeddings(ARRAY(
            SELECT coalesce(p.vector::halfvec, item_embedding(p.item))
            FROM unnest(%(vectors)s::text[], %(items)s::bigint[])
                WITH ORDINALITY AS p (vector, item, n)
            ORDER BY p.n), %(weights)s::real[]) END,
    like_item => %(item)s::bigint,
    modality => %(modality)s::text[], k => %(k)s::integer, filter => %(filter)s::text::jsonb,
    min_similarity => %(least)s::real, ranking => %(ranking)s::text,
    query_modality => %(of)s::text
"""
# As text, which no driver and no application reads in a way of its own.
_COLUMNS = """
    found.rank, found.id, found.source_id, found.part, found.modality, found.content_ref,
    found.metadata::text, found.similarity::float8, found.score::float8, CASE
        WHEN %(with_embeddings)s::boolean THEN (
            SELECT i.embedding::real[] FROM multimodal_items AS i
            WHERE i.id = found.id AND i.modality = found.modality) END
"""
_ITEMS = f"SELECT {_COLUMNS} FROM search_items({_ARGUMENTS}) AS found ORDER BY found.rank"  # noqa: S608
_ROWS = (
    f"SELECT {_COLUMNS}, found.row_key, found.content "  # noqa: S608
    "FROM search_rows(%(name)s::text, content => %(content)s::text[], "
    f"{_ARGUMENTS}) AS found ORDER BY found.rank"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """What items are compared with: one of vector, item and blend.

    Attributes:
        vector: unit vector (D,).
        item: a stored one, which is not among its own neighbours.
        blend: several of either, each with its weight.
        of_modality: what the vector was made from, where that is known.
    """

    vector: Vectors | None = None
    item: int | None = None
    blend: Sequence[tuple["Probe", float]] = ()
    of_modality: str | None = None

    def values(self) -> dict[str, Any]:
        """The parameters of a statement."""
        parts = [part for part, _ in self.blend]
        return {
            "vector": _as_text(self.vector),
            "item": self.item,
            "vectors": [_as_text(part.vector) for part in parts],
            "items": [part.item for part in parts],
            "weights": [weight for _, weight in self.blend] or None,
            "of": self.of_modality,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the neighbours is asked for.

    Attributes:
        k: how many, 1 to 10,000.
        modality: only of these; None: of all, ranked as ``ranking`` says.
        metadata: what an item's metadata must contain.
        with_embeddings: whether each document has its ``embedding``: (D,), float32.

    Raises:
        ConfigurationError: one of them cannot be used as given.
    """

    k: int = 10
    modality: Sequence[str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    min_similarity: float | None = None
    ranking: Ranking | str = "calibrated"
    with_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.ranking not in RANKINGS:
            raise ConfigurationError(
                f"there is no ranking {self.ranking!r}; there are: {', '.join(RANKINGS)}"
            )

    def values(self) -> dict[str, Any]:
        """The parameters of a statement. Raises ConfigurationError."""
        try:
            metadata = json.dumps(dict(self.metadata), allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise ConfigurationError(f"the filter cannot be written as JSON: {exc}") from exc
        return {
            "modality": None if self.modality is None else list(self.modality),
            "k": self.k,
            "filter": metadata,
            "least": self.min_similarity,
            "ranking": self.ranking,
            "with_embeddings": self.with_embeddings,
        }


def items(probe: Probe, wanted: Wanted) -> Steps[list[Neighbour]]:
    """The items nearest to a probe, best first."""
    rows = yield Statement(_ITEMS, {**probe.values(), **wanted.values()})
    return [_neighbour(*row) for row in rows]


def rows_of(
    name: str, contents: Sequence[str] | None, probe: Probe, wanted: Wanted
) -> Steps[list[RowNeighbour]]:
    """The rows of an attached source that are nearest, each by the best of its contents.

    Args:
        contents: which of them; None: all.
    """
    asked = {"name": name, "content": None if contents is None else list(contents)}
    rows = yield Statement(_ROWS, {**asked, **probe.values(), **wanted.values()})
    found = [(_neighbour(*row), row_key, content) for *row, row_key, content in rows]
    return [
        RowNeighbour(
            n.rank, row_key, content, n.document, n.source_id, n.part, n.similarity, n.score
        )
        for n, row_key, content in found
    ]


def _neighbour(
    rank: int,
    item_id: int,
    source_id: int,
    part: int,
    modality: str,
    content_ref: str,
    metadata: str,
    similarity: float,
    score: float,
    embedding: list[float] | None,
) -> Neighbour:
    notes = json.loads(metadata)
    document = MultimodalDocument(
        id=item_id,
        modality=_type_of(modality),
        content_ref=content_ref,
        # Of a halfvec's components: its length is 1 to three digits only.
        embedding=None if embedding is None else unit_rows([embedding])[0],
        # Whoever writes rows by SQL may have put anything there; callers look keys up in it.
        metadata=notes if isinstance(notes, dict) else {},
    )
    return Neighbour(rank, document, source_id, part, similarity, score)


def _as_text(vector: Vectors | None) -> str | None:
    return None if vector is None else f"[{','.join(map(repr, vector.tolist()))}]"


def _type_of(modality: str) -> ModalityType | str:
    """Its member, or the bare name of one that this process does not know."""
    try:
        return ModalityType(modality)
    except ValueError:
        return modality
