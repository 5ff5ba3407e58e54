"""What the tools answer. Clients get the schema of each, with what is said here of every field."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.jobs import NOTES
from pipeline.modalities import moments
from pipeline.references import redact
from pipeline.search.item import Item
from pipeline.search.moments import moment_of
from pipeline.search.places import is_inline
from pipeline.search.results import Neighbour

# Characters of a text, and of metadata as JSON, in a list of results.
MOST_TEXT, MOST_METADATA = 1_000, 2_000


class Answer(BaseModel):
    """What one of the tools answers, or a part of it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Match(Answer):
    """An item that was found."""

    rank: int
    """From 1, the best first."""
    id: int
    """The number of the item, for the tools `item` and `similar`."""
    modality: str
    """Such as text or image."""
    text: str | None
    """The content of a text, or its beginning; null where it is no text."""
    text_is_whole: bool
    """False where only the beginning of a text is given; the tool `item` gives more."""
    place: str | None
    """Path or URI of what is no text; passwords and the like are left out."""
    moment: str | None
    """The best part of a film, a sound or a document: a page, or from when to when."""
    similarity: float
    """Cosine to the query, -1 to 1. Comparable within one modality only."""
    score: float | None  # a NaN, which pydantic writes as null
    """What the order is by; null where the items of a modality are all alike."""
    metadata: dict[str, Any] | None
    """What is stored with the item; null where it is too long for a list, see the tool `item`."""


class Matches(Answer):
    """The items that were found, best first."""

    matches: list[Match]


class WholeItem(Answer):
    """One item."""

    id: int
    modality: str
    """Such as text or image."""
    text: str | None
    """The content of a text; null where it is no text."""
    text_is_whole: bool
    """False where the text is longer than what is given."""
    place: str | None
    """Path or URI of what is no text; passwords and the like are left out."""
    moment: str | None
    """Which part of a film, a sound or a document it is: a page, or from when to when."""
    part: int
    """Which part of its source item it is, from 0."""
    source_id: int
    """The number of its source item, which all of its parts have."""
    source: str
    """Where the source item comes from, such as a collection or a table."""
    source_key: str
    """Its key there."""
    row_key: str | None
    """The key of the row of a table that it belongs to."""
    attached: str | None
    """What that table is attached as."""
    metadata: dict[str, Any] | None
    """What is stored with it; null where it is too long."""
    embedded_at: datetime
    no_image: str | None
    """Why no image of it comes with this; null where one does."""


class InModality(Answer):
    """The items of one modality in the active space."""

    modality: str
    items: int
    """How many of them you can see."""
    is_at_least: bool
    """True where there are more, which were not counted."""


class InSpace(Answer):
    """An embedding space: everything as one model embeds it."""

    name: str
    state: str
    """building, active or retired; the active one is searched."""
    model: str


class Queue(Answer):
    """Source items that are not embedded yet, in all spaces."""

    pending: int
    """Waiting, or being embedded now."""
    failed: int
    """Given up."""


class Counts(Answer):
    """What there is to search."""

    items: list[InModality]
    spaces: list[InSpace]
    queue: Queue | None
    """Null where you may not see all rows."""
    new_queries_are_answered: bool
    """False where nobody embeds: then `similar` works, and texts that were asked for before."""


def match_of(found: Neighbour) -> Match:
    """A result, as it stands in a list."""
    document = found.document
    is_text = is_inline(document)
    content = document.content_ref
    metadata = {key: value for key, value in document.metadata.items() if key != NOTES}
    is_short = len(json.dumps(metadata)) <= MOST_METADATA
    return Match(
        rank=found.rank,
        id=document.id,
        modality=str(document.modality),
        text=content[:MOST_TEXT] if is_text else None,
        text_is_whole=not is_text or len(content) <= MOST_TEXT,
        place=None if is_text else redact(content),
        moment=_shown(moment_of(document)),
        similarity=found.similarity,
        score=found.score,
        metadata=metadata if is_short else None,
    )


def whole_item(item: Item, no_image: str | None) -> WholeItem:
    """An item, with why there is no image of it, if there is none."""
    metadata = _parsed(item.metadata)
    notes = (metadata or {}).pop(NOTES, None)
    is_text = item.text is not None
    moment = moments.moment_of(notes) if isinstance(notes, Mapping) and not is_text else None
    return WholeItem(
        id=item.id,
        modality=item.modality,
        text=item.text,
        text_is_whole=not is_text or item.is_whole,
        place=item.place or None,
        moment=_shown(moment),
        part=item.part,
        source_id=item.source_id,
        source=item.source,
        source_key=item.source_key,
        row_key=item.row_key,
        attached=item.attached,
        metadata=metadata,
        embedded_at=item.embedded_at,
        no_image=no_image,
    )


def _parsed(metadata: str) -> dict[str, Any] | None:
    """None: it is cut, or no object."""
    try:
        found = json.loads(metadata)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _shown(moment: moments.Moment | None) -> str | None:
    return None if moment is None else str(moment)
