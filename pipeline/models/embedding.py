"""Vectors in the ORM: NumPy arrays, of whichever of pgvector's types the active space has."""

from collections.abc import Callable
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Dialect

from pipeline.vectors import Vectors, as_vector


class Embedding(HALFVEC):
    """A column of ``halfvec(D)`` or ``vector(D)``: float32 arrays (D,), in async sessions too.

    Takes arrays, lists and pgvector's own classes. What pgvector's type gives is a list.
    """

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        return _as_text

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        return lambda value: f"'{_as_text(value)}'"

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], Vectors | None]:
        return lambda value: None if value is None else as_vector(value)


def _as_text(value: Any) -> str | None:
    """As either type reads it, in full: pgvector's class would round to half precision."""
    if value is None:
        return None
    return "[" + ",".join(map(repr, as_vector(value).tolist())) + "]"
