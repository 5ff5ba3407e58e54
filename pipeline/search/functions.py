"""The database's functions for searching, in SQLAlchemy."""

from sqlalchemy import Double

from pipeline.models.embedding import Embedding
from pipeline.models.functions import FunctionOfOurs


class item_distance(FunctionOfOurs):  # noqa: N801 (a function of SQL, as SQLAlchemy's own are)
    """Cosine distance (0 to 2) of two vectors; the index orders by it like by ``<=>``."""

    name = "item_distance"
    type = Double()
    inherit_cache = True


class text_embedding(FunctionOfOurs):  # noqa: N801
    """The unit vector (D,) of a text in the active space, while ``pipeline serve`` runs.

    ``session.scalar(select(text_embedding("a red bicycle")))``, or as the vector of ``nearest_to``.
    """

    name = "text_embedding"
    type = Embedding()
    inherit_cache = True


class item_embedding(FunctionOfOurs):  # noqa: N801
    """The unit vector (D,) of a stored item; an error of the database where there is none."""

    name = "item_embedding"
    type = Embedding()
    inherit_cache = True
