"""What the API answers. A field that is null is not known, or not for this login to see."""

import json
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.queue import pauses, status
from pipeline.search import item as found_item
from pipeline.spaces.status import SpaceStatus
from pipeline.web import overview
from pipeline.web.catalogue import Card
from pipeline.web.searching import Rows


class Answer(BaseModel):
    """Made of what the pages are made of."""

    model_config = ConfigDict(from_attributes=True, extra="ignore", frozen=True)


class Hit(Answer):
    """An item that was found."""

    rank: int
    id: int
    source_id: int
    part: int
    modality: str
    similarity: float | None = Field(description="Cosine; null where nothing is searched for.")
    score: float | None = Field(description="What the ranking sorts by.")
    text: str | None = Field(description="The beginning of its content, where that is text.")
    place: str = Field(description="The name of its file, where it is one.")
    caption: str
    size: tuple[int, int] | None = Field(description="Width and height of its image.")
    moment: str = Field(description="Which part of a film, a sound or a document it is.")
    closeness: str = Field(description="The similarity in words.")


class Search(Answer):
    """Rows of a search."""

    items: list[Hit]
    after: str | None = Field(description="To be given for the rows that follow; null: none do.")
    sql: str = Field(description="The statement that gives these rows in psql.")

    @classmethod
    def of(cls, rows: Rows) -> Self:
        after = str(rows.after) if rows.after else None
        return cls(items=[_hit(card) for card in rows.cards], after=after, sql=rows.shown)


def _hit(card: Card) -> Hit:
    return Hit.model_validate(card)


class Part(Answer):
    """One of the items of a source item."""

    part: int
    id: int


class Item(Answer):
    """One item."""

    id: int
    source_id: int
    part: int
    modality: str
    text: str | None = Field(description="Its content, where that is text, as far as pages show.")
    place: str = Field(description="Where its content is, without passwords.")
    caption: str
    metadata: dict[str, Any] | None = Field(description="Null where it is too large to be shown.")
    sha256: str
    embedded_at: datetime
    space: str
    source: str
    source_key: str
    row_key: str | None = Field(description="Of a row of an attached table.")
    attached: str | None = Field(description="The attached source that it is of.")
    parts: list[Part] = Field(description="All items of its source item, itself included.")

    @classmethod
    def of(cls, found: found_item.Item, parts: list[tuple[int, int]]) -> Self:
        values = {name: getattr(found, name) for name in cls.model_fields if hasattr(found, name)}
        return cls(
            **{**values, "metadata": _metadata(found.metadata)},
            parts=[Part(part=part, id=number) for part, number in parts],
        )


def _metadata(text: str) -> dict[str, Any] | None:
    """An object; None: it was cut off, or is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class Pause(Answer):
    """Since when a space is paused."""

    since: datetime
    by: str
    why: str | None


class OfModality(Answer):
    """One modality of a space."""

    modality: str
    items: int
    table_bytes: int
    index_bytes: int | None
    index_is_valid: bool | None
    ef_search: int
    recall: float | None
    measured_at: datetime | None


class Space(Answer):
    """An embedding space."""

    name: str
    state: str
    model: str
    dimensions: int
    vector_type: str
    precision: str
    created_at: datetime
    activated_at: datetime | None
    paused: Pause | None
    modalities: list[OfModality]

    @classmethod
    def of(cls, shown: overview.Shown) -> Self:
        kept = ("name", "state", "model", "dimensions", "vector_type", "precision", "created_at")
        values = {name: getattr(shown.space, name) for name in kept}
        return cls(
            **values,
            activated_at=shown.space.activated_at,
            paused=_pause(shown.pause),
            modalities=[_of_modality(one) for one in shown.status],
        )


def _of_modality(one: SpaceStatus) -> OfModality:
    return OfModality.model_validate(one)


def _pause(pause: pauses.Pause | None) -> Pause | None:
    return Pause.model_validate(pause) if pause else None


class Spaces(Answer):
    """Every space, newest first."""

    spaces: list[Space]


class Work(Answer):
    """The jobs of one modality of one space."""

    space: str
    state: str = Field(description="Of the space.")
    modality: str
    items: int
    pending: int
    running: int
    failed: int
    oldest_pending_seconds: float | None
    per_minute: float = Field(description="Source items embedded, over the last quarter hour.")
    seconds_left: float | None = Field(description="At that rate.")

    @classmethod
    def of(cls, work: status.Work) -> Self:
        oldest = work.oldest_pending.total_seconds() if work.oldest_pending else None
        kept = ("space", "state", "modality", "items", "pending", "running", "failed")
        return cls(
            **{name: getattr(work, name) for name in kept},
            oldest_pending_seconds=oldest,
            per_minute=work.per_minute,
            seconds_left=work.time_left,
        )


class Stage(Answer):
    """One stage of a worker."""

    stage: str
    at_work: float = Field(description="The share of the time in which it worked.")
    bottleneck: float = Field(description="The share in which the others waited for it.")


class Lately(Answer):
    """What a worker's stages did."""

    seen_at: datetime = Field(description="When the worker said so.")
    seconds: float = Field(description="Of the time of which it spoke, until then.")
    stages: list[Stage] = Field(description="In the order of the work.")


class Worker(Answer):
    """Who holds jobs."""

    worker: str
    space: str
    jobs: int
    lapsed: int
    leased_until: datetime
    lately: Lately | None = Field(description="Null where it has not said yet.")


class Unsupported(Answer):
    """Source items that no space in use can embed."""

    modality: str
    source_items: int


class Run(Answer):
    """A run of ingestion that ended."""

    space: str
    began_at: datetime
    ended_at: datetime
    worker: str | None = Field(description="Null without --allow-writes, too.")
    done: int
    failed: int
    retrying: int
    items: int
    reused: int
    seconds: float = Field(description="Of the worker, once the model was loaded.")
    rows_per_second: float
    exit_code: int
    stopped: bool = Field(description="Whether it was told to stop.")
    error: str | None = Field(description="The kind of error that ended it.")


class Jobs(Answer):
    """The queue."""

    work: list[Work]
    paused: dict[str, Pause] = Field(description="By the space's name.")
    unsupported: list[Unsupported]
    runs: list[Run] | None = Field(description="Those that ended last, newest first.")
    workers: list[Worker] | None = Field(description="Null without --allow-writes.")

    @classmethod
    def of(cls, found: overview.Jobs) -> Self:
        held, ended = found.holders, found.runs
        return cls(
            work=[Work.of(one) for one in found.work],
            paused={name: Pause.model_validate(one) for name, one in found.paused.items()},
            unsupported=[Unsupported.model_validate(one) for one in found.unsupported],
            runs=None if ended is None else [Run.model_validate(one) for one in ended],
            workers=None if held is None else [Worker.model_validate(one) for one in held],
        )


class Error(Answer):
    """Why there is no answer, and what to do."""

    message: str
    hint: str
