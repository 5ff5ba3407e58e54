"""From a request to its answer: decoded, embedded beside others, and said as OpenAI says it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from pipeline.embedders.isolation import Result
from pipeline.embedders.remote.tokens import estimate
from pipeline.embeddings_api.asked import Asked, Limits, read
from pipeline.embeddings_api.batching import Batcher, Content
from pipeline.embeddings_api.faults import ApiError, bad, of_input, of_model
from pipeline.embeddings_api.served import Current, ServedModel
from pipeline.errors import ModelError, OutOfMemory, RowError
from pipeline.modalities import Encoder, Modality, ReadOptions, at_least_one
from pipeline.vectors import Vectors


@dataclass(frozen=True)
class Answers:
    """Answers requests, each in the thread that calls, with the model of the moment."""

    current: Current
    batcher: Batcher
    limits: Limits

    def embeddings(self, body: bytes) -> dict[str, Any]:
        """``POST /v1/embeddings``.

        Raises:
            ApiError: what cannot be done.
        """
        asked = read(body, self.limits)
        with self.current.using() as model:
            served = _ready(model)
            _check(asked, served)
            try:
                vectors, tokens = self._vectors(asked, served)
            except (ModelError, OutOfMemory, MemoryError) as exc:
                raise of_model(exc) from exc
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _said(vector, asked)}
                for index, vector in enumerate(vectors)
            ],
            "model": served.space.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def models(self) -> dict[str, Any]:
        """``GET /v1/models``: the one that is served. Raises ApiError."""
        with self.current.using() as model:
            return {"object": "list", "data": [_described(_ready(model))]}

    def model(self, name: str) -> dict[str, Any]:
        """``GET /v1/models/NAME``. Raises ApiError."""
        with self.current.using() as model:
            served = _ready(model)
            _check_name(name, served)
            return _described(served)

    def _vectors(self, asked: Asked, served: ServedModel) -> tuple[list[Vectors], int]:
        """Of each input in order, and how many tokens the texts have."""
        vectors: dict[int, Vectors] = {}
        tokens = 0
        for modality in dict.fromkeys(modality for modality, _ in asked.contents):
            encoder = served.embedder.encoders[modality.name]
            own = ((n, data) for n, (of, data) in enumerate(asked.contents) if of is modality)
            # What files hold is large once decoded: only as many at a time as a batch takes.
            size = len(asked.contents) if modality.inline else max(1, encoder.batch_size)
            while some := dict(islice(own, size)):
                contents = [_decoded(served, modality, data, index) for index, data in some.items()]
                tokens += _tokens(encoder, contents)
                results = self.batcher.embed(encoder, asked.role, contents)
                for index, result in zip(some, results, strict=True):
                    vectors[index] = _checked(result, index)
        return [vectors[index] for index in range(len(asked.contents))], tokens


def _ready(model: ServedModel | None) -> ServedModel:
    if model is None:
        raise ApiError(503, "the model is being loaded", "model_loading")
    return model


def _check_name(name: str, served: ServedModel) -> None:
    if name not in served.names:
        raise ApiError(
            404,
            f"the model {name!r} is not served here; {served.space.name!r} is",
            "model_not_found",
            "model",
        )


def _check(asked: Asked, served: ServedModel) -> None:
    """Refuse what this model cannot do. Raises ApiError."""
    _check_name(asked.model, served)
    if asked.dimensions not in (None, served.space.dimensions):
        raise bad(
            f"vectors of {served.space.name!r} have {served.space.dimensions} dimensions, not "
            f"{asked.dimensions}",
            "dimensions",
        )
    for index, (modality, _) in enumerate(asked.contents):
        if modality.name not in served.modalities:
            raise bad(
                f"input[{index}]: {served.space.name!r} has no encoder for {modality.name}; it "
                f"has: {', '.join(served.modalities)}",
                f"input[{index}]",
                "unsupported_modality",
            )


def _decoded(served: ServedModel, modality: Modality, data: bytes, index: int) -> Content:
    """The parts of one content, whose mean is its vector."""
    options = ReadOptions(text_overlap_tokens=0, max_windows=served.read.max_windows)
    try:
        decoded = served.reader(modality).decode(data)
        encoder = served.embedder.encoders[modality.name]
        return at_least_one(modality.parts(decoded, encoder, options))
    except RowError as exc:
        raise of_input(exc, index) from exc


def _checked(result: Result, index: int) -> Vectors:
    if isinstance(result, RowError):
        raise of_input(result, index) from result
    return result


def _tokens(encoder: Encoder, contents: Sequence[Content]) -> int:
    """Of what is text, by the model's own count where its encoder has one."""
    count = getattr(encoder, "count", estimate)
    parts = (part.content for parts in contents for part in parts)
    return sum(count(content) for content in parts if isinstance(content, str))


def _said(vector: Vectors, asked: Asked) -> list[float] | str:
    if asked.is_base64:
        return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
    floats: list[float] = vector.tolist()
    return floats


def _described(served: ServedModel) -> dict[str, Any]:
    space = served.space
    return {
        "id": space.name,
        "object": "model",
        "created": int(space.created_at.timestamp()),
        "owned_by": "pipeline",
        "root": space.model,
        "dimensions": space.dimensions,
        "modalities": list(served.modalities),
    }
