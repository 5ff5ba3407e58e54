"""What every table's class begins with."""

from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import (
    DateTime,
    LargeBinary,
    MetaData,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

# Where the tables are, unless PIPELINE_SCHEMA says otherwise: then an application translates it by
# ``execution_options(schema_translate_map={SCHEMA: ...})``. Named, so that they are found whatever
# the application's search path is.
SCHEMA = "public"


class Base(DeclarativeBase):
    """Every table of the pipeline; ``Base.metadata`` is what ``alembic check`` compares."""

    metadata = MetaData(schema=SCHEMA)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        bytes: LargeBinary,
    }

    def __init__(self, **columns: Any) -> None:
        """A row of these columns; ``metadata`` is the column that the class calls ``metadata_``.

        Raises:
            TypeError: there is no such column.
        """
        if "metadata" in columns and "metadata_" not in columns:
            columns["metadata_"] = columns.pop("metadata")
        for name, value in columns.items():
            if name not in sqlalchemy.inspect(type(self)).all_orm_descriptors:
                raise TypeError(f"{type(self).__name__} has no column {name!r}")
            setattr(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "metadata":  # SQLAlchemy's own name, of the class: nothing would be stored
            raise AttributeError(f"the column is {type(self).__name__}.metadata_")
        super().__setattr__(name, value)

    def _shown(self, *names: str) -> str:
        """Of these columns those that are loaded: a ``repr()`` asks no database."""
        loaded = [f"{name}={vars(self)[name]!r}" for name in names if name in vars(self)]
        return f"{type(self).__name__}({', '.join(loaded)})"
