"""From a source item to the row of an attached table that it came from, and back.

``source_items.row_key`` is the text of the row's key, of several columns a JSON array. To look up
the row it is read as a value of the key's type, to look up the source items the key is written as
such a text, so that either way an index serves. The functions that write it fix the time zone and
the styles that a text depends on; so does what is compared with it here.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Boolean,
    ColumnElement,
    Enum,
    Float,
    Integer,
    Interval,
    Numeric,
    String,
    Text,
    TypeDecorator,
    Uuid,
    and_,
    case,
    cast,
    func,
    inspect,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeEngine

from pipeline.errors import ConfigurationError
from pipeline.models.functions import is_attached_by, row_key_json, row_key_text

Columns = Sequence[ColumnElement[Any]]
# Under which name in relationship.info an attached source stands: (its name, the columns of its key
# where they are not the primary key).
INFO = "pipeline.attached"
_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
# Their text is the same whatever the session is set to.
_PLAIN = (Integer, String, Uuid, Numeric, Enum, Boolean)


def key_columns(entity: Any, key: str | Sequence[str] | None = None) -> Columns:
    """The columns of the key of a mapped class, or of an alias of one: of its primary key unless
    they are named.

    Raises:
        ConfigurationError: it has no such column.
    """
    mapper: Mapper[Any] = inspect(entity).mapper
    if key is None:
        names = [mapper.get_property_by_column(c).key for c in mapper.primary_key]
    else:
        known = {c.name: mapper.get_property_by_column(c).key for c in mapper.columns}
        asked = [key] if isinstance(key, str) else list(key)
        if unknown := [name for name in asked if name not in known]:
            raise ConfigurationError(
                f"{mapper.class_.__name__} has no column {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(known)}"
            )
        names = [known[name] for name in asked]
    return [getattr(entity, name) for name in names]


def said_key(entity: Any, name: str) -> tuple[str, ...] | None:
    """By which columns the class's own ``items_of()`` say that it is attached as ``name``.

    Raises:
        ConfigurationError: they say different ones.
    """
    mapper: Mapper[Any] = inspect(entity).mapper
    said = {r.info[INFO][1] for r in mapper.relationships if r.info.get(INFO, ("",))[0] == name}
    if len(said) > 1:
        raise ConfigurationError(
            f"the items_of() of {mapper.class_.__name__} name different keys of {name}: a source "
            "has one"
        )
    return said.pop() if said else None


def source_name(entity: Any, name: str | None = None) -> str:
    """What the table of a mapped class, or of an alias of one, is attached as.

    That is ``name``, or what the class's own ``items_of()`` say, or else the table's name, as
    ``attach_source()`` has it.

    Raises:
        ConfigurationError: the class has items of several sources.
    """
    if name is not None:
        return name
    mapper: Mapper[Any] = inspect(entity).mapper
    said = sorted({r.info[INFO][0] for r in mapper.relationships if INFO in r.info})
    if len(said) > 1:
        raise ConfigurationError(
            f"{mapper.class_.__name__} has items of {' and '.join(said)}; say of which: "
            f"name={said[0]!r}"
        )
    return said[0] if said else str(mapper.local_table.name)  # type: ignore[attr-defined]


def is_row_of(
    row_key: Any, is_its_source: ColumnElement[bool], key: Columns
) -> ColumnElement[bool]:
    """Whether a row has this key: for an index of the row's table.

    Nothing but the row_key of its own source is read as a value of the key's type.
    """

    def value(n: int, column: ColumnElement[Any]) -> ColumnElement[Any]:
        text = row_key if len(key) == 1 else cast(row_key, JSONB)[n].astext
        return case((is_its_source, cast(text, _read_as(column.type))))

    return and_(*(column == value(n, column) for n, column in enumerate(key)))


def is_attached_so(name: str, key: Columns) -> ColumnElement[bool]:
    """An error of the database where the source is attached by other columns of the table, or in
    another order: the keys of its rows would be those of others.

    Asked once a statement, and in a form that the planner takes to be true of every row.
    """
    names = [str(column.expression.name) for column in key]
    asked = is_attached_by(literal(name, Text), cast(names, ARRAY(Text)))
    return select(asked).scalar_subquery().is_not(None)


def row_key_of(key: Columns) -> ColumnElement[str]:
    """The row_key of a row, for the index over those of ``source_items``."""
    if len(key) == 1:
        (column,) = key
        return cast(_typed(column), Text) if _is_plain(column) else row_key_text(column)
    return cast(
        func.jsonb_build_array(*(_typed(c) if _is_plain(c) else row_key_json(c) for c in key)),
        Text,
    )


def _is_plain(column: ColumnElement[Any]) -> bool:
    kind = _underlying(column.type)
    return isinstance(kind, _PLAIN) and not isinstance(kind, Float)


def _typed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column, and what an object of the ORM has for it alike: 1 is 1.00 in numeric(8, 2)."""
    kind = _underlying(column.type)
    return cast(column, kind if isinstance(kind, Numeric) else _read_as(kind))


def _read_as(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type by which a key is compared: the widest of its sort, since what the class declares
    need not be what the table has."""
    kind = _underlying(kind)
    if isinstance(kind, Integer):
        return BigInteger()
    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        return Numeric()
    if isinstance(kind, String) and not isinstance(kind, (Enum, CHAR)):
        return Text()
    return kind


def _underlying(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """What a type of the application's is in PostgreSQL."""
    if isinstance(kind, TypeDecorator) and not isinstance(kind, Interval):
        return _underlying(kind.load_dialect_impl(_POSTGRESQL))
    return kind
