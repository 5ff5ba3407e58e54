"""Cohere's ``/v2/embed`` (Embed 4); see https://docs.cohere.com/reference/embed."""

from dataclasses import dataclass
from typing import Any

from pipeline.embedders.remote.dialects.base import (
    Answer,
    Limits,
    Question,
    RemoteInput,
    Request,
    in_order,
    part_of,
    tokens_of,
)


@dataclass(frozen=True, slots=True)
class Cohere(Limits):
    """Queries and items are told apart; answers are in the order of the inputs."""

    def request(self, question: Question) -> Request:
        body: dict[str, Any] = {
            "model": question.model,
            "input_type": "search_query" if question.role == "query" else "search_document",
            "embedding_types": ["float"],
            "inputs": [{"content": [_content(one)]} for one in question.inputs],
            "truncate": "NONE",
        }
        if question.dimensions:
            body["output_dimension"] = question.dimensions
        return Request("/v2/embed", body)

    def read(self, answer: Any, count: int) -> Answer:
        vectors = in_order(part_of(answer, "embeddings", "float"), count)
        billed = [
            tokens_of(answer, "meta", "billed_units", name)
            for name in ("input_tokens", "image_tokens")
        ]
        counted = [tokens for tokens in billed if tokens is not None]
        return Answer(vectors, sum(counted) if counted else None)


def _content(one: RemoteInput) -> dict[str, Any]:
    if one.image:
        return {"type": "image_url", "image_url": {"url": one.data_uri}}
    return {"type": "text", "text": one.text}


COHERE = Cohere(
    "cohere", "https://api.cohere.com", items=96, body_bytes=16 * 2**20, side=1568, tells_roles=True
)
