"""What somebody searches by: a text, an image, a stored item, a vector, or a blend of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from pipeline import modalities
from pipeline.errors import ConfigurationError
from pipeline.search.arguments import check_item
from pipeline.vectors import Vectors, as_vector, unit_rows

File: TypeAlias = Path | bytes | bytearray | Image
Vector: TypeAlias = npt.NDArray[Any] | Sequence[float]
Like: TypeAlias = str | File | Vector | int
Blend: TypeAlias = Mapping[str, float] | Sequence[tuple[Like, float]]

_ARGUMENTS = "a text", "image=", "item=", "vector=", "blend="
_KINDS = "a text, an image, a Path, a vector of numbers or the number of an item"


@dataclass(frozen=True, slots=True)
class Query:
    """One of these.

    Attributes:
        file: a path, the bytes of a file, or opened content such as Pillow's.
        item: number of a stored item.
        vector: unit vector (D,).
        blend: several of the others, each with its weight.
        file_modality: what the file is taken for; None: what it begins like.
    """

    text: str | None = None
    file: Any = None
    item: int | None = None
    vector: Vectors | None = None
    blend: tuple[tuple["Query", float], ...] = ()
    file_modality: str | None = None

    def needs_vectors(self) -> bool:
        """Whether somebody has to embed something of it."""
        if self.blend:
            return any(part.needs_vectors() for part, _ in self.blend)
        return self.text is not None or self.file is not None

    def files(self) -> list[Any]:
        """Every file in it, of a blend those of its parts."""
        if self.blend:
            return [file for part, _ in self.blend for file in part.files()]
        return [] if self.file is None else [self.file]


def query_like(value: Like, file_modality: str | None = None) -> Query:
    """The query that a value is by its type.

    Args:
        file_modality: what a file is taken for; None: what it begins like.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(value, str):
        return Query(text=value)
    if isinstance(value, (int, np.integer, np.bool_)):
        return Query(item=check_item(value, "the number of an item"))
    if isinstance(value, (Path, bytes, bytearray)) or modalities.accepting(value) is not None:
        return Query(file=value, file_modality=file_modality)
    return Query(vector=_unit_vector(value))


def query_of(
    text: str | None,
    image: File | None,
    item: int | None,
    vector: Vector | None,
    blend: Blend | None,
) -> Query:
    """The query of a client's arguments.

    Raises:
        ConfigurationError: none of them or several are given, or one cannot be used.
    """
    given = (text, image, item, vector, blend)
    named = [name for name, value in zip(_ARGUMENTS, given, strict=True) if value is not None]
    if len(named) != 1:
        raise ConfigurationError(
            f"search by one of {', '.join(_ARGUMENTS)}; not by {' and '.join(named) or 'nothing'}"
        )
    if blend is not None:
        return _blend_of(blend)
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(f"the text of a query is a str, not a {type(text).__name__}")
    if item is not None:
        return Query(item=check_item(item, "the number of an item"))
    if vector is not None:
        return Query(vector=_unit_vector(vector))
    query = query_like(text if image is None else image)  # type: ignore[arg-type]  # one is given
    if image is not None and query.file is None:
        raise ConfigurationError(
            f"image= is a Path, the bytes of a file or an opened image, not a "
            f"{type(image).__name__}"
        )
    return query


def _blend_of(blend: Blend) -> Query:
    pairs = blend.items() if isinstance(blend, Mapping) else blend
    try:
        parts = tuple((query_like(like), float(weight)) for like, weight in pairs)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"blend= is pairs of something and its weight, as [('a red bicycle', 1), (42, -0.5)], "
            f"where something is {_KINDS}: {exc}"
        ) from exc
    if not parts:
        raise ConfigurationError("blend= is empty; give it pairs of something and its weight")
    return Query(blend=parts)


def _unit_vector(value: Any) -> Vectors:
    try:
        vector: Vectors = unit_rows(as_vector(value).reshape(1, -1))[0]
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"a query is {_KINDS}, not a {type(value).__name__}: {exc}"
        ) from exc
    if not len(vector) or not np.isfinite(vector).all():
        raise ConfigurationError("a query vector has finite numbers, not all zero")
    return vector
