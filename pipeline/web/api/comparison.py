"""What the API answers of two spaces side by side."""

from typing import Self

from pydantic import Field

from pipeline.web.api.answers import Answer
from pipeline.web.comparing import Beside, Compared, Figures, Hit


class Figure(Answer):
    """One measured number of both spaces."""

    metric: str
    query_modality: str
    item_modality: str
    condition: str = Field(description="What it was measured on; none: the index.")
    active: float | None = Field(description="Null where it was not measured.")
    other: float | None

    @classmethod
    def of(cls, found: Figures) -> Self:
        names = ("metric", "query_modality", "item_modality", "condition")
        values = {name: getattr(found.of, name) for name in names}
        return cls(**values, active=found.active, other=found.other)


class ComparedHit(Answer):
    """A source item that a space found."""

    rank: int
    source_id: int
    part: int
    similarity: float
    elsewhere: int | None = Field(description="Its rank in the other space; null: not shown there.")
    item: int | None = Field(description="The item in the active space; null: there is none.")

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls.model_validate(
            {
                "rank": hit.rank,
                "source_id": hit.source_id,
                "part": hit.part,
                "similarity": hit.similarity,
                "elsewhere": hit.elsewhere,
                "item": hit.card.id if hit.card else None,
            }
        )


class ComparedQuery(Answer):
    """What one query finds in both."""

    query: str
    shared: int = Field(description="How many of those shown both found.")
    active: list[ComparedHit]
    other: list[ComparedHit]

    @classmethod
    def of(cls, found: Compared) -> Self:
        active, other = ([ComparedHit.of(h) for h in hits] for hits in (found.active, found.other))
        return cls(query=found.query, shared=found.shared, active=active, other=other)


class Comparison(Answer):
    """A space beside the active one. Similarities of two models do not compare."""

    active: str = Field(description="The name of the active space.")
    other: str
    modality: str = Field(description="Of the items that are compared.")
    figures: list[Figure]
    queries: list[ComparedQuery]

    @classmethod
    def of(cls, beside: Beside, modality: str, found: list[Compared]) -> Self:
        return cls(
            active=beside.active.name,
            other=beside.other.name,
            modality=modality,
            figures=[Figure.of(one) for one in beside.figures],
            queries=[ComparedQuery.of(one) for one in found],
        )
