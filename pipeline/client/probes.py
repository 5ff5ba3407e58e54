"""A query, once the vectors of its texts and files are there, as what items are compared with."""

from collections.abc import Callable
from typing import Any

from pipeline.client.query import Query
from pipeline.modalities import TEXT
from pipeline.search.retrieve import Probe
from pipeline.vectors import Vectors


def probe_of(
    query: Query,
    of_text: Callable[[str], Vectors],
    of_file: Callable[[Any], tuple[Vectors, str]],
) -> Probe:
    """What a query is compared as.

    Args:
        of_text: the unit vector (D,) of a text.
        of_file: that of a file, and the name of its modality.
    """
    if query.blend:
        return Probe(blend=[(probe_of(part, of_text, of_file), w) for part, w in query.blend])
    if query.text is not None:
        return Probe(vector=of_text(query.text), of_modality=TEXT.name)
    if query.file is not None:
        vector, modality = of_file(query.file)
        return Probe(vector=vector, of_modality=modality)
    return Probe(vector=query.vector, item=query.item)
