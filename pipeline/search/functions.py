"""The database's functions in SQLAlchemy, named with the schema that the models are in.

``func.text_embedding(...)`` is found by the application's search path alone, which need not have
our schema; these follow ``schema_translate_map`` as the models do.
"""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from pipeline.models import MultimodalItem
from pipeline.models.embedding import Embedding


class _FunctionOfOurs(FunctionElement[Any]):
    """One with its ``name`` in the schema of the models."""

    inherit_cache = True
    name: str


@compiles(_FunctionOfOurs)
def _named_in_full(element: _FunctionOfOurs, compiler: SQLCompiler, **options: Any) -> str:
    table, preparer = MultimodalItem.__table__, compiler.preparer
    schema = preparer.schema_for_object(table)
    assert schema is not None
    arguments = compiler.process(element.clause_expr, **options)
    return f"{preparer.quote_schema(schema)}.{element.name}{arguments}"


class item_distance(_FunctionOfOurs):  # noqa: N801 (a function of SQL, as SQLAlchemy's own are)
    """Cosine distance (0 to 2) of two vectors; the index orders by it like by ``<=>``."""

    name = "item_distance"
    type = Double()
    inherit_cache = True


class text_embedding(_FunctionOfOurs):  # noqa: N801
    """The unit vector (D,) of a text in the active space, while ``pipeline serve`` runs.

    ``session.scalar(select(text_embedding("a red bicycle")))``, or as the vector of ``nearest_to``.
    """

    name = "text_embedding"
    type = Embedding()
    inherit_cache = True


class item_embedding(_FunctionOfOurs):  # noqa: N801
    """The unit vector (D,) of a stored item; an error of the database where there is none."""

    name = "item_embedding"
    type = Embedding()
    inherit_cache = True
