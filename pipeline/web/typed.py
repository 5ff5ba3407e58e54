"""What somebody typed into a search page or wrote into its URL: understood field by field."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pipeline.search.asking import MOST_BYTES
from pipeline.search.results import RANKINGS
from pipeline.web.asked import ITEM, MOST_TERMS, After, Asked, Term
from pipeline.web.faults import PageError

T = TypeVar("T")
Values = Mapping[str, Sequence[str]]
MOST_FILTER = 4_000  # characters


@dataclass(frozen=True, slots=True)
class Typed:
    """A search as it stands in the form, right or wrong.

    Attributes:
        terms: further ones, each with its weight.
        wrong: by name what is wrong: ``q``, ``filter``, ``term 1`` and ``weight 1`` have a field.
    """

    text: str
    terms: tuple[tuple[str, str], ...]
    filter: str
    wrong: Mapping[str, PageError] = field(default_factory=dict)

    @property
    def elsewhere(self) -> PageError | None:
        """What is wrong and has no field to say it beside."""
        shown = {"q", "filter"}
        for place in range(1, len(self.terms) + 1):
            shown |= {f"term {place}", f"weight {place}"}
        return next((error for name, error in self.wrong.items() if name not in shown), None)


def read(values: Values) -> Asked:
    """What a URL's query asks for.

    Args:
        values: by name, in the order of the URL; empty ones count as not given.

    Raises:
        PageError: 400, with what is wrong.
    """
    asked, typed = understood(values)
    for error in typed.wrong.values():
        raise error
    return asked


def understood(values: Values) -> tuple[Asked, Typed]:
    """What a URL's query asks for as far as it can be understood, and all of it as it was typed."""
    wrong: dict[str, PageError] = {}

    def one(name: str) -> str:
        return next((value.strip() for value in values.get(name, ()) if value.strip()), "")

    def take(name: str, read_as: Callable[[str], T], text: str, otherwise: T) -> T:
        try:
            return read_as(text) if text else otherwise
        except PageError as error:
            wrong[name] = error
            return otherwise

    terms = _terms(values)
    more = []
    asked = Asked(
        text=take("q", text_of, one("q"), ""),
        item=take("item", item_number, one("item"), None),
        file=one("file"),
        modalities=tuple(dict.fromkeys(m for m in values.get("modality", ()) if m)),
        ranking=take("ranking", _ranking, one("ranking"), "calibrated"),
        filter=take("filter", _filter, one("filter"), {}),
        source=one("source"),
        after=take("after", _after, one("after"), None),
    )
    for place, (name, weight) in enumerate(terms, 1):
        counts = take(f"weight {place}", _weight, weight, 1.0)
        term = take(f"term {place}", _term, name, None)
        if term is not None and f"weight {place}" not in wrong:
            more.append(replace(term, weight=counts))
    asked = replace(asked, more=tuple(more))
    if len(asked.terms) > MOST_TERMS:
        wrong["terms"] = PageError(400, f"A blend has at most {MOST_TERMS} terms.")
    return asked, Typed(one("q"), terms, one("filter"), wrong)


def text_of(text: str) -> str:
    """A text that is short enough to be searched for. Raises PageError."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise PageError(
            400,
            f"The text has {size:,} bytes; as a query it has at most {MOST_BYTES:,}.",
            "Search by a part of it: models read a few hundred words at most.",
        )
    return text


def item_number(text: str) -> int:
    """A number that an item or a source item may have. Raises PageError."""
    if not text.isascii() or not text.isdecimal() or int(text[:20]) >= 2**63:
        raise PageError(400, f"{text[:40]!r} is no number of an item.")
    return int(text)


def _terms(values: Values) -> tuple[tuple[str, str], ...]:
    """Terms with the weights beside them; without a term a weight is nothing's."""
    weights = values.get("weight", ())
    named = enumerate(term.strip() for term in values.get("term", ()))
    return tuple(
        (name, weights[place].strip() if place < len(weights) else "")
        for place, name in named
        if name
    )


def _term(name: str) -> Term:
    if name.startswith(ITEM):
        return Term(item=item_number(name.removeprefix(ITEM).strip()))
    return Term(text=text_of(name))


def _weight(text: str) -> float:
    try:
        weight = float(f"{float(text):g}")  # as it is shown
    except ValueError:
        weight = math.nan
    if not -100 <= weight <= 100:
        raise PageError(
            400, f"{text[:40]!r} is no weight.", "A weight is a number from -100 to 100."
        )
    return weight


def _ranking(name: str) -> str:
    if name not in RANKINGS:
        raise PageError(400, f"There is no ranking {name[:40]!r}.", f"Use {', '.join(RANKINGS)}.")
    return name


def _after(text: str) -> After:
    try:
        return After.read(text)
    except ValueError:
        raise PageError(400, "This is no page of a search.", "Search again.") from None


def _filter(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if len(text) <= MOST_FILTER else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise PageError(
            400,
            f"The filter is no JSON object of at most {MOST_FILTER:,} characters.",
            'Write it as {"colour": "red"}.',
        )
    return found
