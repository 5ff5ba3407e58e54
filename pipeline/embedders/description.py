"""What makes an embedding space: everything that decides which vector an input gets.

Free of torch, so that spaces can be listed, compared and checked without loading a model.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True)
class ModelDescription:
    """One model with its weights, preprocessing, tokenizer and precision.

    ``precision`` is the resolved one, never ``auto``: it is part of the fingerprint, so a space
    stores it and every worker loads the model with the space's precision. Two machines on which
    ``auto`` resolves differently therefore describe different spaces instead of mixing vectors.
    """

    model: str  # the spec as it was given; a name or a path, so not part of the fingerprint
    architecture: str  # OpenCLIP's name of the configuration, or 'custom'
    architecture_config: Mapping[str, Any]  # OpenCLIP's model_cfg
    dimensions: int
    image_size: tuple[int, int]  # height, width in pixels
    context_length: int  # tokens, start and end of text included
    text_is_causal: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "longest", "squash"]
    fill_color: int
    tokenizer: Mapping[str, Any]
    precision: str
    weights_sha256: str
    logit_scale: float  # the trained temperature, exp() taken
    logit_bias: float | None
    normalisation: str = "l2"

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it: ``from_dict(json.loads(json.dumps(d.as_dict()))) == d``."""
        loaded: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return loaded

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The description that ``as_dict`` gave. Raises TypeError on unknown or missing fields."""
        tuples = {
            name: tuple(values[name]) for name in ("image_size", "mean", "std") if name in values
        }
        return cls(**{**values, **tuples})

    def fingerprint(self) -> str:
        """sha256 (hex) over every field but ``model``: equal content, equal fingerprint."""
        content = {name: value for name, value in self.as_dict().items() if name != "model"}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: "ModelDescription") -> list[str]:
        """Each field that the fingerprints disagree on, as ``field: mine != theirs``."""
        mine, theirs = _flat(self.as_dict()), _flat(other.as_dict())
        names = [name for name in {**mine, **theirs} if name != "model"]
        return [
            f"{name}: {mine.get(name, 'none')} != {theirs.get(name, 'none')}"
            for name in names
            if mine.get(name, _MISSING) != theirs.get(name, _MISSING)
        ]


_MISSING = object()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
