"""An application's own rows and the items of their contents, where its table is attached.

class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    photos: Mapped[list[MultimodalItem]] = items_of("products", content="photo")

session.execute(nearest_rows(Product, vector, content="photo").limit(10))
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Relationship, aliased, foreign, relationship

from pipeline.errors import ConfigurationError
from pipeline.models import MultimodalItem, SourceItem
from pipeline.models.functions import attached_modality
from pipeline.models.row_keys import (
    INFO,
    is_attached_so,
    is_row_of,
    key_columns,
    row_key_of,
    said_key,
    source_name,
)
from pipeline.search.arguments import check_number
from pipeline.search.select import Vector, distance_to

Row = TypeVar("Row")
Contents = str | Sequence[str]


def items_of(
    name: str, *, content: Contents, key: Contents | None = None, **options: Any
) -> Relationship[Any]:
    """The items of a row's content, as a relationship that is only read.

    In the order of the elements of an array, then of the parts of one. Works with every way of
    loading and in joins, from either side by an index. ``Mapped[list[MultimodalItem]]`` is its
    annotation, or ``Mapped[MultimodalItem | None]`` where there is at most one. No database is
    asked until it is loaded; what is not attached so has no items. Where it is attached by other
    columns of the table, or by these in another order, loading is an error of the database.

    Args:
        name: what the table is attached as.
        content: which of its contents, or several.
        key: the columns by which it is attached, where they are not the primary key.
        options: others of ``relationship()``: ``lazy``, ``order_by``, ``info``.

    Raises:
        ConfigurationError: no content can have such a name.
    """
    contents = _checked(content)
    said = None if key is None else (key,) if isinstance(key, str) else tuple(key)
    is_its_source = _is_source(SourceItem.source, name, contents)
    position = [
        func.length(SourceItem.source_key),  # of one row: 9 elements before the tenth
        SourceItem.source_key,
        SourceItem.source,
        MultimodalItem.part,
    ]

    def is_item_of_row() -> ColumnElement[bool]:
        key_of_row = key_columns(made.parent.class_, key)
        return and_(
            is_its_source,
            foreign(SourceItem.row_key) == row_key_of(key_of_row),
            is_row_of(SourceItem.row_key, is_its_source, key_of_row),
            is_attached_so(name, key_of_row),
        )

    made: Relationship[Any] = relationship(
        MultimodalItem,
        secondary=SourceItem.__table__,
        primaryjoin=is_item_of_row,
        secondaryjoin=lambda: foreign(SourceItem.id) == MultimodalItem.source_id,
        viewonly=True,
        **{
            "order_by": position,
            **options,
            "info": {INFO: (name, said), **options.get("info", {})},
        },
    )
    return made


def nearest_rows(
    row_class: type[Row],
    vector: Vector,
    *,
    content: Contents,
    k: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    name: str | None = None,
    key: Contents | None = None,
) -> Select[Row, float]:
    """Rows of an attached table by nearness of a content to a vector (D,), each with its
    ``similarity`` (cosine).

    A row comes once, by the best of its items: of the elements of an array, the parts of a text,
    the contents asked for. ``MultimodalItem`` in the query is that item, ``SourceItem`` what it
    came from; joins, filters and ``.limit()`` compose as with ``nearest_to()``, and without a LIMIT
    no index serves the order.

    Args:
        row_class: the application's class for the table, or an alias of it.
        vector: as of ``nearest_to()``.
        content: which content, or several of one modality.
        k: how many rows, as ``.limit(k)``.
        metadata: what the items' metadata must hold: ``{"tenant_id": 7}``.
        name: what the table is attached as, where neither the class's ``items_of()`` nor the
            table's name say it.
        key: the columns by which it is attached, where neither the class's ``items_of()`` nor the
            primary key are those.

    Raises:
        ConfigurationError: no vector, no such column, or no content can have such a name. That
            nothing is attached so, or by another key, or contents of several modalities, is an
            error of the database when the statement runs.
    """
    contents, name = _checked(content), source_name(row_class, name)
    columns = key_columns(row_class, said_key(row_class, name) if key is None else key)
    is_its_source = _is_source(SourceItem.source, name, contents)
    distance = distance_to(vector)
    modality = select(
        attached_modality(literal(name, Text), cast(list(contents), ARRAY(Text)))
    ).scalar_subquery()
    query = (
        select(row_class, (1 - distance).label("similarity"))
        .select_from(MultimodalItem)
        .join(SourceItem, SourceItem.id == MultimodalItem.source_id)
        .join(row_class, is_row_of(SourceItem.row_key, is_its_source, columns))
        # Asked of the database, and so told apart from what is not attached.
        .where(is_its_source, MultimodalItem.modality == modality, _is_best(vector, name, contents))
        .where(is_attached_so(name, columns))
        .order_by(distance, MultimodalItem.id)
    )
    if metadata is not None:
        query = query.where(MultimodalItem.metadata_.contains(dict(metadata)))
    return query if k is None else query.limit(check_number("k", k))


def _is_best(vector: Vector, name: str, contents: tuple[str, ...]) -> ColumnElement[bool]:
    """Whether no other item of the same row is nearer."""
    item, source = aliased(MultimodalItem), aliased(SourceItem)
    best = (
        select(item.id)
        .join(source, source.id == item.source_id)
        .where(
            _is_source(source.source, name, contents),
            source.row_key == SourceItem.row_key,
            item.modality == MultimodalItem.modality,
        )
        # Not by the vectors' index: these few are found by their row.
        .order_by(distance_to(vector, item) + literal(0.0, Float), item.id)
        .limit(1)
        .correlate(MultimodalItem, SourceItem)
        .scalar_subquery()
    )
    # An equality would be estimated to hold for one row of all, and no index be worth its while.
    return func.coalesce(MultimodalItem.id == best, False)


def _is_source(source: Any, name: str, contents: tuple[str, ...]) -> ColumnElement[bool]:
    names = [f"{name}.{content}" for content in contents]
    is_it: ColumnElement[bool] = source == names[0] if len(names) == 1 else source.in_(names)
    return is_it


def _checked(content: Contents) -> tuple[str, ...]:
    contents = (content,) if isinstance(content, str) else tuple(content)
    wrong = [c for c in contents if not isinstance(c, str) or not re.fullmatch(r"[\w-]+", c)]
    if wrong or not contents:
        raise ConfigurationError(
            f"a content has a name of letters, digits, _ and -, as attach_source() was given it; "
            f"not {', '.join(map(repr, wrong)) or 'none at all'}"
        )
    return contents
