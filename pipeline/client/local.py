"""Vectors of queries where this process may have a model of its own, see ``search/queries.py``."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline import modalities
from pipeline.client.files import bytes_of
from pipeline.client.query import Query
from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError, MissingExtra, RowError
from pipeline.modalities import TEXT, ReadOptions
from pipeline.postgres.pool import Pool
from pipeline.search.queries import Queries
from pipeline.search.retrieve import Probe
from pipeline.settings import Settings
from pipeline.vectors import Vectors


def queries_of(
    pool: Pool,
    model: Embedder | None,
    settings: Settings,
    seconds: float | None,
    note: Callable[[str], None],
) -> Queries:
    """Who gives queries their vectors; ``model``: the active space's, if it is loaded already."""
    return Queries(
        pool,
        model,
        device=settings.device,
        options=ReadOptions.of(settings),
        seconds=seconds,
        note=note,
    )


def probe_of(queries: Queries, query: Query, settings: Settings) -> Probe:
    """What a query is compared as.

    Raises:
        RowError: the image or the text cannot be embedded.
        ConfigurationError: it is refused.
        ModelError, MissingExtra: nobody serves, and there is no model here either.
    """
    if query.blend:
        return Probe(blend=[(probe_of(queries, part, settings), w) for part, w in query.blend])
    if query.text is not None:
        return Probe(vector=queries.of_text(query.text), of_modality=TEXT.name)
    if query.file is None:
        return Probe(vector=query.vector, item=query.item)
    if not isinstance(query.file, (Path, bytes, bytearray)):
        modality = modalities.accepting(query.file)
        assert modality is not None
        decoded = modality.decoded(query.file, ReadOptions.of(settings))
        return Probe(vector=queries.of_decoded(modality, decoded), of_modality=modality.name)
    data, name = bytes_of(query.file, settings)
    try:
        vector, modality = queries.of_file(data, query.file_modality)
    except MissingExtra:
        raise
    except (RowError, ConfigurationError) as exc:
        raise ConfigurationError(f"{name}: {exc}") from exc
    return Probe(vector=vector, of_modality=modality.name)


def vectors_of(queries: Queries, texts: Sequence[str]) -> Vectors:
    """The unit vectors (n, D) of texts. Raises as :func:`probe_of`."""
    found = [queries.of_text(text) for text in texts]
    return np.stack(found) if found else np.empty((0, queries.space().dimensions), np.float32)
