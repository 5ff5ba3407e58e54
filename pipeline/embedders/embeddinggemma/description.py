"""What an EmbeddingGemma 2 is described by, beside what every description has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.embedders.description import Description


@dataclass(frozen=True, kw_only=True)
class EmbeddingGemmaDescription(Description):
    """The model, what its inputs are made into, and what stands before a text.

    Attributes:
        config: of the model, as transformers has it, without what decides no vector.
        tokenizer_sha256: of the vocabulary and what decides how a text is cut into it.
        query_prompt: what stands before a text that is searched with.
        item_prompt: what stands before a text that is to be found.
        visual_tokens: of an image at most.
        preprocessing: of images and sounds, as transformers has it.
        full_dimensions: of the model's vectors; those of the space are the first of them.
    """

    kind = "embeddinggemma-2"

    config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_sha256: str = ""
    query_prompt: str = ""
    item_prompt: str = ""
    visual_tokens: int = 0
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    full_dimensions: int = 0
