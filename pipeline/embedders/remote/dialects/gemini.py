"""Gemini's ``batchEmbedContents``; see https://ai.google.dev/api/embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline.embedders.remote.dialects.base import (
    Answer,
    Limits,
    Question,
    RemoteInput,
    Request,
    in_order,
    part_of,
)


@dataclass(frozen=True, slots=True)
class Gemini(Limits):
    """Queries and items are told apart; answers are in the order of the inputs."""

    def headers(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def request(self, question: Question) -> Request:
        task = "RETRIEVAL_QUERY" if question.role == "query" else "RETRIEVAL_DOCUMENT"
        asked: dict[str, Any] = {"model": f"models/{question.model}", "taskType": task}
        if question.dimensions:
            asked["outputDimensionality"] = question.dimensions
        return Request(
            f"/models/{quote(question.model, safe='')}:batchEmbedContents",
            {"requests": [asked | {"content": {"parts": [_part(i)]}} for i in question.inputs]},
        )

    def read(self, answer: Any, count: int) -> Answer:
        vectors = in_order(part_of(answer, "embeddings"), count)
        return Answer([part_of(vector, "values") for vector in vectors])


def _part(one: RemoteInput) -> dict[str, Any]:
    if one.image:
        return {"inlineData": {"mimeType": one.media_type, "data": one.base64}}
    return {"text": one.text}


GEMINI = Gemini(
    "gemini",
    "https://generativelanguage.googleapis.com/v1beta",
    items=100,
    tokens=20_000,
    context=2_000,
    tells_roles=True,
)
