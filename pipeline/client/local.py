"""Vectors of queries where this process may have a model of its own, see ``search/queries.py``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import modalities
from pipeline.client import probes
from pipeline.client.files import bytes_of
from pipeline.client.query import Query
from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError, MissingExtra, RowError
from pipeline.modalities import ReadOptions
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
    told = query.file_modality
    return probes.probe_of(
        query, queries.of_text, lambda file: _of_file(queries, file, told, settings)
    )


def _of_file(
    queries: Queries, file: Any, told: str | None, settings: Settings
) -> tuple[Vectors, str]:
    if not isinstance(file, (Path, bytes, bytearray)):
        modality = modalities.accepting(file)
        assert modality is not None
        decoded = modality.decoded(file, ReadOptions.of(settings))
        return queries.of_decoded(modality, decoded), modality.name
    data, name = bytes_of(file, settings)
    try:
        vector, modality = queries.of_file(data, told)
    except MissingExtra:
        raise
    except (RowError, ConfigurationError) as exc:
        raise ConfigurationError(f"{name}: {exc}") from exc
    return vector, modality.name


def vectors_of(queries: Queries, texts: Sequence[str]) -> Vectors:
    """The unit vectors (n, D) of texts. Raises as :func:`probe_of`."""
    found = [queries.of_text(text) for text in texts]
    return np.stack(found) if found else np.empty((0, queries.space().dimensions), np.float32)
