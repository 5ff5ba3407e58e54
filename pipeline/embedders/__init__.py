"""Embedders: models with an encoder for each modality they have. The one room that imports torch.

A new family of models is a folder here with one object that meets ``base.Family``, and a line in
:data:`_FAMILIES`; or an object of somebody else's, handed to :func:`register`. What loads a model
is imported when one is opened: torch takes seconds, and not every installation has it.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.embedders.base import PRECISION_FLOOR, Embedder, Family
from pipeline.embedders.description import Description
from pipeline.embedders.embeddinggemma import EMBEDDING_GEMMA
from pipeline.embedders.openclip import OPENCLIP
from pipeline.embedders.remote import REMOTE
from pipeline.errors import ConfigurationError, ModelError

__all__ = [
    "PRECISION_FLOOR",
    "Description",
    "Embedder",
    "Family",
    "described",
    "family_of",
    "family_that_claims",
    "register",
]

# Asked in this order for whose a spec is; OpenCLIP's has many forms, and takes what nobody claims.
_FAMILIES: list[Family] = [REMOTE, EMBEDDING_GEMMA, OPENCLIP]


def register(family: Family) -> None:
    """Make a family of models known to this process; it is asked before those of the package.

    Raises:
        ConfigurationError: another one has its kind.
    """
    if any(other.kind == family.kind for other in _FAMILIES if other is not family):
        raise ConfigurationError(f"there is a family of the kind {family.kind!r} already")
    if family not in _FAMILIES:
        _FAMILIES.insert(0, family)


def unregister(family: Family) -> None:
    """Forget a family that was registered; for tests."""
    _FAMILIES.remove(family)


def family_that_claims(spec: str) -> Family:
    """The family whose model a spec names."""
    return next((family for family in _FAMILIES if family.claims(spec)), OPENCLIP)


def family_of(stored: Mapping[str, Any]) -> Family:
    """The family of the model that a stored description describes.

    Raises:
        ModelError: it is of a kind that this installation does not know.
    """
    kind = stored.get("kind")
    for family in _FAMILIES:
        if family.kind == kind:
            return family
    raise ModelError(
        f"the model is of the kind {kind!r}, and this installation knows "
        f"{', '.join(family.kind for family in _FAMILIES)}"
    )


def described(stored: Mapping[str, Any]) -> Description:
    """A stored description.

    Raises:
        ModelError: naming the kind or the fields that this release does not know.
    """
    return family_of(stored).description.from_dict(stored)
