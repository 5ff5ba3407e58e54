"""The database's functions in SQLAlchemy, named with the schema that the models are in.

``func.name(...)`` is found by the application's search path alone, which need not have our schema;
these follow ``schema_translate_map`` as the models do.
"""

from typing import Any

from sqlalchemy import Boolean, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from pipeline.models.installed_sql import InstalledSql


class FunctionOfOurs(FunctionElement[Any]):
    """One with its ``name`` in the schema of the models."""

    inherit_cache = True
    name: str


@compiles(FunctionOfOurs)
def _named_in_full(element: FunctionOfOurs, compiler: SQLCompiler, **options: Any) -> str:
    table, preparer = InstalledSql.__table__, compiler.preparer
    schema = preparer.schema_for_object(table)
    assert schema is not None
    arguments = compiler.process(element.clause_expr, **options)
    return f"{preparer.quote_schema(schema)}.{element.name}{arguments}"


class row_key_text(FunctionOfOurs):  # noqa: N801 (a function of SQL, as SQLAlchemy's own are)
    """A key of one column as ``source_items.row_key`` has it."""

    name = "row_key_text"
    type = Text()
    inherit_cache = True


class row_key_json(FunctionOfOurs):  # noqa: N801
    """A column of a key of several as ``source_items.row_key`` has it."""

    name = "row_key_json"
    type = JSONB()
    inherit_cache = True


class attached_modality(FunctionOfOurs):  # noqa: N801
    """The modality of contents of an attached table; an error of the database if it has none."""

    name = "attached_modality"
    type = Text()
    inherit_cache = True


class is_attached_by(FunctionOfOurs):  # noqa: N801
    """True; an error of the database if a table is attached by other columns."""

    name = "is_attached_by"
    type = Boolean()
    inherit_cache = True
