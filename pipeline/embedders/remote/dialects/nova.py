"""Amazon Nova's multimodal embeddings, by Bedrock's InvokeModel with a key of Bedrock's; see
https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline.embedders.remote.dialects.base import (
    Answer,
    Limits,
    Question,
    Request,
    part_of,
    tokens_of,
)


@dataclass(frozen=True, slots=True)
class Nova(Limits):
    """One input a request. The address is of a region, so that there is none by default."""

    def request(self, question: Question) -> Request:
        (one,) = question.inputs
        asked: dict[str, Any] = {
            "embeddingPurpose": "GENERIC_RETRIEVAL" if question.role == "query" else "GENERIC_INDEX"
        }
        if question.dimensions:
            asked["embeddingDimension"] = question.dimensions
        if one.image:
            asked["image"] = {
                "format": one.media_type.removeprefix("image/"),
                "source": {"bytes": one.base64},
            }
        else:
            asked["text"] = {"truncationMode": "NONE", "value": one.text}
        return Request(
            f"/model/{quote(question.model, safe='')}/invoke",
            {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": asked},
        )

    def read(self, answer: Any, count: int) -> Answer:
        return Answer(
            [part_of(answer, "embeddings", 0, "embedding")], tokens_of(answer, "inputTokenCount")
        )


NOVA = Nova("nova", items=1, side=2048, tells_roles=True)
