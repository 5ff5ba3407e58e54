"""Voyage AI's ``/multimodalembeddings``; see https://docs.voyageai.com/reference/multimodal-embeddings-api."""

from dataclasses import dataclass
from typing import Any

from pipeline.embedders.remote.dialects.base import (
    Answer,
    Limits,
    Question,
    RemoteInput,
    Request,
    by_index,
    part_of,
    tokens_of,
)


@dataclass(frozen=True, slots=True)
class Voyage(Limits):
    """Queries and items are told apart."""

    def request(self, question: Question) -> Request:
        body: dict[str, Any] = {
            "model": question.model,
            "inputs": [{"content": [_content(one)]} for one in question.inputs],
            "input_type": "query" if question.role == "query" else "document",
            "truncation": False,
        }
        if question.dimensions:
            body["output_dimension"] = question.dimensions
        return Request("/multimodalembeddings", body)

    def read(self, answer: Any, count: int) -> Answer:
        return Answer(
            by_index(part_of(answer, "data"), count), tokens_of(answer, "usage", "total_tokens")
        )


def _content(one: RemoteInput) -> dict[str, Any]:
    if one.image:
        return {"type": "image_base64", "image_base64": one.data_uri}
    return {"type": "text", "text": one.text}


VOYAGE = Voyage(
    "voyage", "https://api.voyageai.com/v1", items=128, tokens=250_000, side=2000, tells_roles=True
)
