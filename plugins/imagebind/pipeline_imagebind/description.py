"""What an ImageBind is described by, beside what every description has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.embedders import Description


@dataclass(frozen=True, kw_only=True)
class ImageBindDescription(Description):
    """The checkpoint, what its inputs are made into, and the licence that was accepted.

    Attributes:
        tokenizer_sha256: of the file of its vocabulary.
        preprocessing: by modality, what decides its input.
        licence: accepted when the space was made. It decides no vector, so that the fingerprint
            does not cover it.
    """

    kind = "imagebind"

    tokenizer_sha256: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    licence: str = field(default="", metadata={"is_name": True})
