"""The demonstration's queries: every direction of cross-modal retrieval once or more."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.database import Connection
from pipeline.demo import SAMPLES, SOURCE
from pipeline.documents import Neighbour
from pipeline.index import UnifiedIndex


@dataclass(frozen=True)
class Stop:
    """One query of the tour. ``query`` is a text, or the key of a sample for its stored item."""

    direction: str
    query: str
    stored: str | None  # the modality of the stored item that is the query; None: a text
    modality: str | None


STOPS = (
    Stop("text to image", "a slice of pizza", None, "image"),
    Stop("text to image", "a happy face", None, "image"),
    Stop("text to image", "fruit", None, "image"),
    Stop("image to text", "guitar", "image", "text"),
    Stop("image to text", "red-apple", "image", "text"),
    Stop("image to image", "cat-face", "image", "image"),
    Stop("text to text", "umbrella", "text", "text"),
    Stop("mixed", "pizza", None, None),
)


@dataclass(frozen=True)
class Answer:
    """A stop with what was found, best first; ``picture`` where the query is one."""

    stop: Stop
    title: str
    picture: Path | None
    found: list[Neighbour]


def take_tour(index: UnifiedIndex, connection: Connection, k: int = 5) -> list[Answer]:
    """Ask every query of the tour."""
    answers = []
    for stop in STOPS:
        if stop.stored is None:
            found = index.retrieve_cross_modal(stop.query, k, stop.modality)
            answers.append(Answer(stop, f'"{stop.query}"', None, found))
            continue
        row = connection.execute(
            """
            SELECT i.id, i.content_ref FROM multimodal_items AS i
            JOIN source_items AS s ON s.id = i.source_id
            WHERE s.source = %s AND s.source_key = %s
            """,
            (SOURCE, f"{stop.query}#{stop.stored}"),
        ).fetchone()
        if row is None:
            continue
        item_id, content_ref = row
        picture = SAMPLES / "images" / Path(content_ref).name if stop.stored == "image" else None
        title = f"the picture {Path(content_ref).name}" if picture else f'the text "{content_ref}"'
        found = index.retrieve_cross_modal(item_id, k, stop.modality)
        answers.append(Answer(stop, title, picture, found))
    return answers
