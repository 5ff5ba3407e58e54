"""Vectors of queries by a running ``pipeline serve`` alone, as steps for both clients."""

from collections.abc import Sequence

import numpy as np

from pipeline import modalities
from pipeline.client.query import Query
from pipeline.errors import ConfigurationError, NotServed, PermanentRowError
from pipeline.modalities import IMAGE, TEXT, ReadOptions
from pipeline.postgres.steps import Statement, Steps
from pipeline.search import asking, query_vectors
from pipeline.search.asking import Unanswered
from pipeline.search.retrieve import Probe
from pipeline.vectors import Vectors

# Of what one login may have wait (PIPELINE_QUERY_QUEUE_PER_LOGIN) a small part.
TEXTS_AT_A_TIME = 256

_ACTIVE_MODALITIES = """
    SELECT m.modality FROM space_modalities AS m
    JOIN embedding_spaces AS s ON s.id = m.space_id WHERE s.state = 'active'
"""


def probe_of(
    query: Query, files: dict[int, tuple[bytes, str]], seconds: float | None
) -> Steps[Probe]:
    """What a query is compared as.

    Args:
        files: bytes and name of each file in the query, by ``id()`` of its object.
        seconds: to wait for a vector.

    Raises:
        RowError: it is no text that can be embedded.
        NotServed: nobody serves, or can be asked.
        ConfigurationError: it is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """
    if query.blend:
        parts = []
        for part, weight in query.blend:
            parts.append(((yield from probe_of(part, files, seconds)), weight))
        return Probe(blend=parts)
    if query.text is not None:
        vectors = yield from vectors_of([query.text], seconds)
        return Probe(vector=vectors[0], of_modality=TEXT.name)
    if query.file is not None:
        data, name = files[id(query.file)]
        return (yield from _probe_of_file(data, name, seconds))
    return Probe(vector=query.vector, item=query.item)


def _probe_of_file(data: bytes, name: str, seconds: float | None) -> Steps[Probe]:
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
    return Probe(vector=vector, of_modality=modality.name)


def vectors_of(texts: Sequence[str], seconds: float | None) -> Steps[Vectors]:
    """The unit vectors (n, D) of texts, in their order. Raises as :func:`probe_of`."""
    asked = [_checked(text, n, len(texts)) for n, text in enumerate(texts)]
    if not asked:
        rows = yield Statement("SELECT dimensions FROM embedding_spaces WHERE state = 'active'")
        return np.empty((0, rows[0][0] if rows else 0), dtype=np.float32)
    found = []
    for begin in range(0, len(asked), TEXTS_AT_A_TIME):
        some = asked[begin : begin + TEXTS_AT_A_TIME]
        vectors = yield from asking.known_here(some)
        if vectors is None:
            try:
                vectors = yield from asking.ask_for_texts(some, seconds)
            except Unanswered as why:
                raise not_served(why) from why
        found.append(vectors)
    return np.concatenate(found)


def count() -> Steps[int]:
    """How many items there are."""
    rows = yield Statement("SELECT count(*) FROM multimodal_items")
    return int(rows[0][0])


def _checked(text: str, number: int, count: int) -> str:
    """The text as it is asked for. Raises ConfigurationError, RowError."""
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


def not_served(why: Unanswered) -> NotServed:
    """The error of a client that has no model of its own."""
    return NotServed(
        f"{why}: start `pipeline serve`, or give the client model='local' where the extra embed "
        "is installed"
    )
