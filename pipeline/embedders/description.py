"""What makes an embedding space: everything that decides which vector an input gets.

Free of torch, so that spaces can be listed, compared and checked without loading a model.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Self

from pipeline.errors import ModelError

# Significant digits of a number in a fingerprint: the last bits of exp() are the machine's.
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Description:
    """One model with its weights, preprocessing and precision. A family adds its own fields.

    ``precision`` is the resolved one, never ``auto``: it is part of the fingerprint, so a space
    stores it and every worker loads the model with the space's precision. Two machines on which
    ``auto`` resolves differently therefore describe different spaces instead of mixing vectors.

    Attributes:
        kind: the family of embedders, such as ``openclip``.
        model: the spec as it was given; a name or a path, so not part of the fingerprint.
        context_length: tokens of a text, start and end included; 0: the model reads no text.
    """

    kind: ClassVar[str]

    model: str = field(metadata={"is_name": True})
    dimensions: int
    precision: str
    weights_sha256: str
    context_length: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it, with its kind and without what is at its default.

        So an older release reads what a newer one wrote, unless it uses what is new.
        """
        values = {f.name: getattr(self, f.name) for f in self._told()}
        loaded: dict[str, Any] = json.loads(json.dumps({"kind": self.kind} | values))
        return loaded

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The description that ``as_dict`` gave.

        Raises:
            ModelError: it is of another kind, or has fields that this release does not know, or
                lacks some.
        """
        given = {name: value for name, value in values.items() if name != "kind"}
        if values.get("kind") != cls.kind:
            raise ModelError(f"the description is of the kind {values.get('kind')!r}")
        known = {f.name: f for f in dataclasses.fields(cls)}
        if unknown := sorted(given.keys() - known.keys()):
            raise ModelError(f"this release does not know the fields {', '.join(unknown)}")
        needed = {name for name, f in known.items() if f.default is MISSING}
        if missing := sorted(needed - given.keys()):
            raise ModelError(f"the fields {', '.join(missing)} are missing")
        return cls(**{name: _frozen(value) for name, value in given.items()})

    def canonical(self) -> dict[str, Any]:
        """What the fingerprint covers: every field but the name, and none at its default.

        A field that a later release adds with a default therefore changes no fingerprint of a
        model that does not use it. Numbers have :data:`DIGITS` significant digits.
        """
        told = {
            f.name: _canonical(getattr(self, f.name))
            for f in self._told()
            if not f.metadata.get("is_name")
        }
        return {"kind": self.kind} | told

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical mapping as JSON with sorted keys."""
        content = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def differences(self, other: "Description") -> list[str]:
        """Each field that the fingerprints disagree on, as ``field: mine != theirs``."""
        mine, theirs = _flat(self.canonical()), _flat(other.canonical())
        return [
            f"{name}: {mine.get(name, 'none')} != {theirs.get(name, 'none')}"
            for name in {**mine, **theirs}
            if mine.get(name, MISSING) != theirs.get(name, MISSING)
        ]

    def _told(self) -> list[dataclasses.Field[Any]]:
        return [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _canonical(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float):
        rounded = float(f"{value:.{DIGITS}g}")
        return int(rounded) if rounded.is_integer() else rounded  # 4 and 4.0 are one number
    return value


def _frozen(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
