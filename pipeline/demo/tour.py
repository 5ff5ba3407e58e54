"""The demonstration's queries: every direction of cross-modal retrieval once or more."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.demo.manifest import SAMPLES, SOURCE, samples
from pipeline.modalities import IMAGE, TEXT, Modality
from pipeline.postgres.connections import Connection
from pipeline.search.results import Neighbour
from pipeline.unified_index import UnifiedIndex


@dataclass(frozen=True)
class Stop:
    """One query of the tour. ``query`` is a text, or the key of a sample for its stored item."""

    direction: str
    query: str
    stored: Modality | None  # that of the stored item that is the query; None: a text
    modality: Modality | None


STOPS = (
    Stop("text to image", "a slice of pizza", None, IMAGE),
    Stop("text to image", "a happy face", None, IMAGE),
    Stop("text to image", "fruit", None, IMAGE),
    Stop("image to text", "guitar", IMAGE, TEXT),
    Stop("image to text", "red-apple", IMAGE, TEXT),
    Stop("image to image", "cat-face", IMAGE, IMAGE),
    Stop("text to text", "umbrella", TEXT, TEXT),
    Stop("mixed", "pizza", None, None),
)


MIXED_RANKING = (
    "Sorted by score: the cosine after each modality's mean is taken off. By plain similarity "
    "texts come before the images."
)


@dataclass(frozen=True)
class Answer:
    """A stop with what was found, best first.

    Attributes:
        title: the query in words.
        image: the query, where it is one.
        statement: the same search in SQL.
    """

    stop: Stop
    title: str
    image: Path | None
    statement: str
    found: list[Neighbour]


def take_tour(index: UnifiedIndex, connection: Connection, k: int = 5) -> list[Answer]:
    """Ask every query of the tour."""
    of_key = {sample.key: sample for sample in samples()}
    answers = []
    for stop in STOPS:
        wanted = stop.modality.name if stop.modality else None
        if stop.stored is None:
            found = index.retrieve_cross_modal(stop.query, k, wanted)
            statement = _statement(f"'{stop.query}'", stop, k)
            answers.append(Answer(stop, f'"{stop.query}"', None, statement, found))
            continue
        row = connection.execute(
            """
            SELECT i.id FROM multimodal_items AS i JOIN source_items AS s ON s.id = i.source_id
            WHERE s.source = %s AND s.source_key = %s
            """,
            (SOURCE, f"{stop.query}#{stop.stored.name}"),
        ).fetchone()
        if row is None:
            continue
        sample = of_key[stop.query]
        image = None if stop.stored.inline else SAMPLES / sample.image
        # A caption is "a guitar: music, instrument".
        title = (
            f"the image of {sample.caption.partition(':')[0]}"
            if image
            else f'the caption "{sample.caption}"'
        )
        found = index.retrieve_cross_modal(row[0], k, wanted)
        statement = _statement(f"like_item => {row[0]}", stop, k)
        answers.append(Answer(stop, title, image, statement, found))
    return answers


def _statement(query: str, stop: Stop, k: int) -> str:
    modality = f"modality => '{{{stop.modality.name}}}', " if stop.modality else ""
    number = "similarity" if stop.modality else "score"
    return f"SELECT rank, content_ref, {number}\nFROM search_items({query}, {modality}k => {k});"
