"""What every table's class begins with."""

from datetime import datetime
from typing import Any

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

    def _shown(self, *names: str) -> str:
        """Of these columns those that are loaded: a ``repr()`` asks no database."""
        loaded = [f"{name}={vars(self)[name]!r}" for name in names if name in vars(self)]
        return f"{type(self).__name__}({', '.join(loaded)})"
