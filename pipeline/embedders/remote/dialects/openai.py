"""OpenAI's ``/embeddings``, which most servers of text models have, and what others add to it."""

from dataclasses import dataclass
from typing import Any

from pipeline.embedders.remote.dialects.base import (
    Answer,
    Limits,
    Question,
    Request,
    by_index,
    part_of,
    tokens_of,
)
from pipeline.modalities import TEXT


@dataclass(frozen=True, slots=True)
class OpenAiStyle(Limits):
    """Texts alone; see https://platform.openai.com/docs/api-reference/embeddings."""

    def request(self, question: Question) -> Request:
        body: dict[str, Any] = {
            "model": question.model,
            "input": [one.text for one in question.inputs],
            "encoding_format": "float",
        }
        return Request("/embeddings", body | asked(question))

    def read(self, answer: Any, count: int) -> Answer:
        return Answer(
            by_index(part_of(answer, "data"), count), tokens_of(answer, "usage", "total_tokens")
        )


class Infinity(OpenAiStyle):
    """The same, with images as data URIs; see https://michaelfeil.github.io/infinity."""

    def request(self, question: Question) -> Request:
        body: dict[str, Any] = {
            "model": question.model,
            "input": [one.data_uri if one.image else one.text for one in question.inputs],
            "encoding_format": "float",
            "modality": "image" if question.is_of_images else "text",
        }
        return Request("/embeddings", body | asked(question))


class Jina(OpenAiStyle):
    """Objects as inputs; see https://jina.ai/embeddings."""

    def request(self, question: Question) -> Request:
        body: dict[str, Any] = {
            "model": question.model,
            "input": [
                {"image": one.base64} if one.image else {"text": one.text}
                for one in question.inputs
            ],
            "embedding_type": "float",
            "normalized": True,
        }
        if not question.is_of_images:
            # Images have no task of their own.
            body["task"] = f"retrieval.{'query' if question.role == 'query' else 'passage'}"
        return Request("/embeddings", body | asked(question))


def asked(question: Question) -> dict[str, Any]:
    """The dimensions, where somebody asks for some."""
    return {"dimensions": question.dimensions} if question.dimensions else {}


OPENAI = OpenAiStyle(
    "openai",
    "https://api.openai.com/v1",
    modalities=(TEXT.name,),
    items=256,
    tokens=250_000,
    context=8_000,
)
# Its models are local ones, CLIP's among them, whose texts have 77 tokens.
INFINITY = Infinity("infinity", items=32, context=77, side=1024)
JINA = Jina("jina", "https://api.jina.ai/v1", items=128, context=8_000, tells_roles=True)
