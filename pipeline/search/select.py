"""Retrieval for applications: SQLAlchemy select builders, and a function for those without.

No torch here: a web process passes vectors (or the number of an item) and gets rows.

    session.scalars(nearest_to(vector, modality="image").limit(10))
    session.execute(
        similar_to(item_id, modality="text").join(Product, ...).where(Product.price < 20)
    )
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pgvector
from pgvector import HalfVector, SparseVector
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    ScalarSelect,
    Select,
    bindparam,
    literal,
    select,
    tuple_,
)
from sqlalchemy.orm import aliased

from pipeline.errors import ConfigurationError
from pipeline.models import MultimodalItem
from pipeline.models.embedding import Embedding
from pipeline.search.arguments import Modality, check_item, check_modality
from pipeline.search.functions import item_distance, item_embedding
from pipeline.vectors import as_vector

# pgvector's own classes too, which is what psycopg gives after its register_vector().
Vector = (
    Sequence[float]
    | npt.NDArray[np.floating[Any]]
    | HalfVector
    | SparseVector
    | pgvector.Vector
    | ColumnElement[Any]
)


def distance_to(
    vector: Vector, item: type[MultimodalItem] = MultimodalItem
) -> ColumnElement[float]:
    """Cosine distance (0 to 2) of each item to a vector (D,); what HNSW can order by.

    The vector may be an expression, such as ``text_embedding("a red bicycle")``; ``item`` an alias.
    """
    if isinstance(vector, ColumnElement):
        # Once per statement, where a bare call is one per row that is compared.
        return item_distance(item.embedding, select(vector).scalar_subquery())
    try:
        values = as_vector(vector)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"a query vector is one row of numbers, not a {type(vector).__name__}: {exc}"
        ) from exc
    if values.ndim != 1 or not np.isfinite(values).all() or not values.any():
        raise ConfigurationError(
            f"a query vector is one row of finite numbers, not all zero; "
            f"this one has shape {values.shape}"
        )
    return item_distance(item.embedding, bindparam(None, values, type_=Embedding()))


def nearest_to(
    vector: Vector,
    *,
    modality: Modality | None = None,
    exact: bool = False,
    after: MultimodalItem | int | None = None,
) -> Select[MultimodalItem, float]:
    """Items by nearness to a vector (D,), each with its ``similarity`` (cosine).

    Add ``.limit(k)``: without a LIMIT no index serves the order. Joins and filters compose.
    With ``modality`` only that partition is searched, which is what a text query for images (or
    the reverse) needs: see docs/decisions.md on the modality gap. One that is known but not in the
    active space has no rows here, where ``search_items()`` refuses it.

    Args:
        exact: compare every item that matches, without the index, which finds nearly all of the
            nearest and of many equal ones only some.
        after: the last item of the page before, for the next page: unlike an OFFSET no page repeats
            an item of another, whatever was added meanwhile; with ``exact`` on every page none is
            lost either, however many are as near. One that was removed since is an error of the
            database when the statement runs.

    Raises:
        ConfigurationError: no vector (complex numbers are none), or an unknown modality.
    """
    return _by_distance(lambda item: distance_to(vector, item), modality, exact, after)


def similar_to(
    item: MultimodalItem | int,
    *,
    modality: Modality | None = None,
    exact: bool = False,
    after: MultimodalItem | int | None = None,
) -> Select[MultimodalItem, float]:
    """Items by nearness to a stored item, itself and its other parts left out.

    ``modality`` may be another one: the texts of an image, the images of a text. An item that is
    not stored is an error of the database when the statement runs (``no_data_found``). The others
    are those of :func:`nearest_to`.

    Raises:
        ConfigurationError: the number of no item, an object not yet stored, or an unknown modality.
    """
    item_id = _id_of(item)
    query_item = aliased(MultimodalItem)
    key = _embedding_of(item_id)
    own_source = (
        select(query_item.source_id).where(query_item.id == item_id).limit(1).scalar_subquery()
    )
    query = _by_distance(lambda item: item_distance(item.embedding, key), modality, exact, after)
    # Asked for first: an item that is missing is an error though no row is compared with it.
    return query.where(key.is_not(None), MultimodalItem.source_id != own_source)


def _by_distance(
    distance_of: Callable[[type[MultimodalItem]], ColumnElement[float]],
    modality: Modality | None,
    exact: bool,
    after: MultimodalItem | int | None,
) -> Select[MultimodalItem, float]:
    """Items that are as near come in the order of their ids, so that pages continue."""
    distance = distance_of(MultimodalItem)
    # No index orders by a sum.
    order: ColumnElement[float] = distance + literal(0.0, Float) if exact else distance
    query = select(MultimodalItem, (1 - distance).label("similarity"))
    if after is not None:
        last, last_id = aliased(MultimodalItem), _id_of(after)
        last_distance = select(distance_of(last)).where(last.id == last_id).scalar_subquery()
        place = tuple_(last_distance, bindparam(None, last_id, type_=BigInteger()))
        # Its vector first, as in similar_to(): no page would follow an item that is missing.
        query = query.where(
            _embedding_of(last_id).is_not(None), tuple_(distance, MultimodalItem.id) > place
        )
    name = check_modality(modality)
    if name is not None:
        query = query.where(MultimodalItem.modality == name)
    return query.order_by(order, MultimodalItem.id)


def _id_of(item: MultimodalItem | int) -> int:
    return check_item(item.id if isinstance(item, MultimodalItem) else item)


def _embedding_of(item_id: int) -> ScalarSelect[Any]:
    """The vector of a stored item, once per statement; an error of the database without one."""
    return select(item_embedding(bindparam(None, item_id, type_=BigInteger()))).scalar_subquery()
