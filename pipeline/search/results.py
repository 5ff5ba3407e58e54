"""The article's own words for what is stored and found. Free of numpy: the command reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.modalities import ModalityType

# How results of several modalities are put into one order: see sql/functions/search_items.sql.
Ranking = Literal["calibrated", "raw", "quota"]
RANKINGS: tuple[str, ...] = get_args(Ranking)


@dataclass(frozen=True)
class MultimodalDocument:
    """An item with its vector.

    Attributes:
        id: number of the item in ``multimodal_items``.
        modality: such as text or image.
        content_ref: the text, or the path or URI of an image.
        embedding: unit vector (dimensions,), float32; None where it was not asked for.
        metadata: the source item's metadata; empty where that is no JSON object.
    """

    id: int
    modality: "ModalityType | str"
    content_ref: str
    embedding: "npt.NDArray[np.float32] | None" = field(default=None, repr=False, compare=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Neighbour:
    """A search result: a document, how near it is, and what it was ranked by.

    Attributes:
        rank: from 1.
        similarity: cosine to the query, -1 to 1.
        score: what the ranking sorted by; the cosine itself unless the ranking is calibrated.
    """

    rank: int
    document: MultimodalDocument
    source_id: int
    part: int
    similarity: float
    score: float


@dataclass(frozen=True)
class RowNeighbour:
    """A row of an attached table, by the best of its contents.

    Attributes:
        rank: from 1.
        row_key: the key of the row, as text; None: its content stands for no row.
        content: which of its contents this is, such as ``photo``.
        document: the item of it that is nearest.
        similarity: cosine to the query, -1 to 1.
        score: what the ranking sorted by; the cosine itself unless the ranking is calibrated.
    """

    rank: int
    row_key: str | None
    content: str
    document: MultimodalDocument
    source_id: int
    part: int
    similarity: float
    score: float
