"""Queries become unit vectors: by a space's model, in the role of a query."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.embedders.isolation import Result, embed_isolating
from pipeline.embedders.whole import embed_whole
from pipeline.errors import ModelError, PermanentRowError, RowError
from pipeline.modalities import (
    TEXT,
    Decoded,
    Encoder,
    Modality,
    Part,
    ReadOptions,
    at_least_one,
)
from pipeline.vectors import Vectors

Key = TypeVar("Key")

# A query is one vector whatever its length: nothing is repeated, nothing refused for its windows.
_OPTIONS = ReadOptions(text_overlap_tokens=0, max_windows=10_000)


def embed_query(embedder: Embedder, modality: Modality, decoded: Decoded) -> Vectors:
    """The unit vector (dimensions,) of a query of any modality.

    Raises:
        ModelError: the model has no encoder for the modality, or gives the query no direction.
        RowError: the query cannot be cut or prepared.
    """
    encoder = encoder_for(embedder, modality)
    parts = at_least_one(modality.parts(decoded, encoder, _OPTIONS))
    (result,) = embed_isolating(lambda some: embed_whole(encoder, some, "query"), [parts])
    if isinstance(result, RowError):
        raise result
    return result


def embed_query_texts(
    embedder: Embedder, texts: Mapping[Key, str]
) -> tuple[dict[Key, Vectors], dict[Key, RowError]]:
    """Vectors of the texts by their keys, and of those that have none, why; in one batch.

    Raises:
        ModelError: the model has no encoder for texts, or is broken.
    """
    encoder = encoder_for(embedder, TEXT)
    contents: dict[Key, Sequence[Part]] = {}
    errors: dict[Key, RowError] = {}
    for key, text in texts.items():
        try:
            contents[key] = text_parts(text, encoder)
        except PermanentRowError as exc:
            errors[key] = exc
    results: list[Result] = embed_isolating(
        lambda some: embed_whole(encoder, some, "query"), list(contents.values())
    )
    vectors: dict[Key, Vectors] = {}
    for key, result in zip(contents, results, strict=True):
        if isinstance(result, RowError):
            errors[key] = result
        else:
            vectors[key] = result
    return vectors, errors


def text_parts(text: str, encoder: Encoder) -> list[Part]:
    """A text, cleaned, in windows that each fit into the encoder's context. Raises RowError."""
    data = text.encode("utf-8", "surrogatepass")
    return at_least_one(TEXT.parts(TEXT.decode(data, _OPTIONS), encoder, _OPTIONS))


def encoder_for(embedder: Embedder, modality: Modality) -> Encoder:
    """The model's encoder for queries of a modality.

    Raises:
        ModelError: it has none.
    """
    encoders = all_encoders(embedder)
    if modality.name not in encoders:
        raise ModelError(
            f"the model {embedder.description.model} has no encoder for {modality.name} queries; "
            f"it has: {', '.join(encoders)}"
        )
    return encoders[modality.name]
