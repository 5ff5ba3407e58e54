"""Queries whose vectors a running ``pipeline serve`` gives alone, as steps for both clients."""

from collections.abc import Sequence

import numpy as np

from pipeline import modalities
from pipeline.errors import ConfigurationError, NotServed, PermanentRowError
from pipeline.modalities import IMAGE, TEXT, ReadOptions
from pipeline.postgres.steps import Statement, Steps
from pipeline.search import asking, query_vectors
from pipeline.search.asking import Unanswered
from pipeline.vectors import Vectors

_ACTIVE_MODALITIES = """
    SELECT m.modality FROM space_modalities AS m
    JOIN embedding_spaces AS s ON s.id = m.space_id WHERE s.state = 'active'
"""


def checked(texts: Sequence[str]) -> list[str]:
    """The texts as they are asked for.

    Raises:
        ConfigurationError, RowError: naming the one that is none, or too long.
    """
    if isinstance(texts, str):
        raise ConfigurationError("texts is a str, and must be a list of them")
    return [_checked(text, n, len(texts)) for n, text in enumerate(texts)]


def _checked(text: str, number: int, count: int) -> str:
    which = "the text" if count == 1 else f"texts[{number}]"
    if not isinstance(text, str):
        raise ConfigurationError(f"{which} is a {type(text).__name__}, and must be a str")
    try:
        TEXT.decode(text.encode("utf-8", "surrogatepass"), ReadOptions())
        asked = query_vectors.asked(text)
    except PermanentRowError as exc:
        raise PermanentRowError(exc.code, f"{which}: {exc.message}") from exc
    if len(asked.encode()) > asking.MOST_BYTES:
        raise ConfigurationError(
            f"{which} has {len(asked.encode())} bytes; `pipeline serve` takes at most "
            f"{asking.MOST_BYTES}, and models read some 77 words of it"
        )
    return asked


def file_vector(data: bytes, name: str, seconds: float | None) -> Steps[tuple[Vectors, str]]:
    """The unit vector (D,) of a file, and the name of its modality.

    Raises:
        NotServed: nobody serves, or can be asked.
        ConfigurationError: it is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """
    rows = yield Statement(_ACTIVE_MODALITIES)
    modality = (
        modalities.sniffed(data, [modality for (modality,) in rows])
        or modalities.sniffed(data, modalities.known_names())
        or IMAGE
    )
    try:
        vector = yield from asking.ask_for_file(data, seconds)
    except Unanswered as why:
        raise not_served(why) from why
    except ConfigurationError as exc:
        raise ConfigurationError(f"{name}: {exc}") from exc
    return vector, modality.name


def no_vectors() -> Steps[Vectors]:
    """Those of no text at all: (0, D)."""
    rows = yield Statement("SELECT dimensions FROM embedding_spaces WHERE state = 'active'")
    return np.empty((0, rows[0][0] if rows else 0), dtype=np.float32)


def count() -> Steps[int]:
    """How many items there are."""
    rows = yield Statement("SELECT count(*) FROM multimodal_items")
    return int(rows[0][0])


def not_served(why: Unanswered) -> NotServed:
    """The error of a client that has no model of its own."""
    return NotServed(
        f"{why}: start `pipeline serve`, or give the client model='local' where the extra embed "
        "is installed"
    )
