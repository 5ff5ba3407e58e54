"""What a search page is asked for: the state that its URL holds, as it is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlencode

PAGE = 24
# Of one search; whoever needs more of them wants SQL.
MOST_ROWS = 960
MOST_TERMS = 8
ITEM = "item:"


@dataclass(frozen=True, slots=True)
class Term:
    """One direction of a blend: a text, a stored item or a file, and how much it counts.

    Attributes:
        file: what this process calls a file that somebody gave it.
        weight: negative: away from it.
    """

    text: str = ""
    item: int | None = None
    file: str = ""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{ITEM}{self.item}" if self.item is not None else self.text


@dataclass(frozen=True, slots=True)
class After:
    """The last row of a page: where the next one begins. Its numbers are PostgreSQL's real."""

    rank: int
    score: float
    similarity: float
    id: int

    def __str__(self) -> str:
        return f"{self.rank}_{self.score!r}_{self.similarity!r}_{self.id}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError."""
        rank, score, similarity, id_ = text.split("_")
        found = cls(int(rank), float(score), float(similarity), int(id_))
        if not (0 <= found.rank <= MOST_ROWS and -(2**63) <= found.id < 2**63):
            raise ValueError(text)
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """One search, or the newest items where nothing is searched for.

    Attributes:
        terms: what is searched for; several are a blend.
        modalities: only these; none: all.
        filter: what an item's metadata must contain.
        source: the name of an attached source.
    """

    text: str = ""
    item: int | None = None
    file: str = ""
    more: tuple[Term, ...] = ()
    modalities: tuple[str, ...] = ()
    ranking: str = "calibrated"
    filter: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    after: After | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """All that is searched for; each but ``more`` with the weight 1."""
        first = [Term(text=self.text)] if self.text else []
        first += [Term(item=self.item)] if self.item is not None else []
        first += [Term(file=self.file)] if self.file else []
        return (*first, *self.more)

    def changed(self, **changes: Any) -> str:
        """The URL's query of another search, from its first row on unless ``after`` is given."""
        return replace(self, **{"after": None, **changes}).query()

    def toggled(self, modality: str) -> str:
        """With the modality where it is not chosen, else without."""
        chosen = self.modalities
        others = tuple(m for m in chosen if m != modality)
        return self.changed(modalities=others if modality in chosen else (*chosen, modality))

    def filtered(self, key: str, value: Any) -> str:
        """With metadata of that key and value; without, where it is so already."""
        rest = {k: v for k, v in self.filter.items() if k != key}
        return self.changed(filter=rest if self.filter.get(key) == value else rest | {key: value})

    def query(self) -> str:
        """The URL's query, without what is at its default."""
        pairs: list[tuple[str, str]] = [("q", self.text)] if self.text else []
        pairs += self.kept()
        for term in self.more:
            pairs += [("term", term.name), ("weight", f"{term.weight:g}")]
        pairs += [("modality", modality) for modality in self.modalities]
        if self.ranking != "calibrated":
            pairs.append(("ranking", self.ranking))
        if self.filter:
            pairs.append(("filter", self.filter_text))
        if self.source:
            pairs.append(("source", self.source))
        if self.after is not None:
            pairs.append(("after", str(self.after)))
        return f"?{urlencode(pairs)}" if pairs else "?"

    def kept(self) -> list[tuple[str, str]]:
        """What the form keeps that has no field of its own."""
        found = [("item", str(self.item))] if self.item is not None else []
        return found + ([("file", self.file)] if self.file else [])

    @property
    def filter_text(self) -> str:
        """As JSON, as it stands in SQL."""
        return json.dumps(dict(self.filter), ensure_ascii=False) if self.filter else ""
