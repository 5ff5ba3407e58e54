"""The select builders in sessions that block and that await, of psycopg and of asyncpg."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, selectinload, undefer

from pipeline import MultimodalItem, SourceItem, nearest_to, similar_to, text_embedding
from pipeline.errors import ConfigurationError
from pipeline.models import EmbeddingSpace, QueryEmbedding, SpaceModality
from pipeline.postgres.connections import Connection
from pipeline.postgres.engines import create_engine
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.clients import asyncpg_engine, psycopg_url
from tests.helpers.fakes import add_texts, vector_of
from tests.helpers.workers import work
from tests.integration.test_ties import SHUFFLED, store_tied

CAT = vector_of(b"cat")
Run = Callable[[Callable[[Session], Any]], Any]


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection) -> None:
    add_texts(connection, ["ant", "bee", "cat"])
    connection.execute(
        """UPDATE source_items SET metadata = jsonb_build_object('letters', ascii(content_ref))"""
    )
    work(settings, space)
    query_vectors.store(connection, space.id, "cat", CAT)
    connection.execute("SELECT FROM refresh_space_statistics()")


@pytest.fixture(params=["psycopg", "async psycopg", "async asyncpg"])
def session(url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """``session(method, *arguments)``: what it gives, whether it has to be awaited or not."""
    if request.param == "psycopg":
        engine = create_engine(url)
        with Session(engine) as own:
            yield lambda method, *given: getattr(own, method)(*given)
        engine.dispose()
        return
    with asyncio.Runner() as runner:
        psycopg = request.param == "async psycopg"
        engine_ = create_async_engine(psycopg_url(url)) if psycopg else asyncpg_engine(url)
        awaited = AsyncSession(engine_, expire_on_commit=False)

        async def of(work: Awaitable[Any]) -> Any:
            return await work

        yield lambda method, *given: runner.run(of(getattr(awaited, method)(*given)))
        runner.run(awaited.close())
        runner.run(engine_.dispose())


def assert_is_cat(found: Any) -> None:
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (np.float32, (8,))
    np.testing.assert_allclose(found, CAT, atol=1e-3)


@pytest.mark.usefixtures("filled")
def test_vectors_are_float32_arrays(session: Any) -> None:
    whole = undefer(MultimodalItem.embedding)
    for vector in (CAT, CAT.tolist(), text_embedding("cat")):
        query = nearest_to(vector, modality="text").limit(1).options(whole)
        item, similarity = session("execute", query).one()
        assert_is_cat(item.embedding)
        assert (item.content_ref, similarity) == ("cat", pytest.approx(1, abs=1e-3))
    assert_is_cat(session("scalar", select(text_embedding("cat"))))
    assert_is_cat(session("scalars", select(QueryEmbedding)).one().embedding)
    means = {m.modality: m.mean for m in session("scalars", select(SpaceModality))}
    assert means["image"] is None
    assert means["text"].dtype == np.float32
    assert session("scalars", select(EmbeddingSpace)).one().dimensions == 8


@pytest.mark.usefixtures("filled")
def test_queries_compose(session: Any) -> None:
    query = (
        nearest_to(CAT, modality="text")
        .join(SourceItem, SourceItem.id == MultimodalItem.source_id)
        .where(SourceItem.metadata_["letters"].as_integer() < ord("c"))
        .where(MultimodalItem.metadata_.contains({"letters": ord("b")}))
        .options(selectinload(MultimodalItem.source_item))
    )
    ((item, _),) = session("execute", query.limit(5)).all()
    assert (item.content_ref, item.source_item.source) == ("bee", "test")
    found = session("scalars", similar_to(item, modality="text").limit(5)).all()
    assert {one.content_ref for one in found} == {"ant", "cat"}
    nearest = nearest_to(CAT).limit(2).subquery()
    assert session("scalar", select(func.count()).select_from(nearest)) == 2


def pages(session: Any, query: Callable[..., Any], count: int) -> list[int]:
    """The ids of so many items, page by page."""
    found: list[int] = []
    last: MultimodalItem | None = None
    while len(found) < count and (page := session("scalars", query(after=last).limit(7)).all()):
        last = page[-1]
        found += [item.id for item in page]
    assert len(set(found)) == len(found)
    return found


def exactly(connection: Connection, count: int) -> list[int]:
    rows = connection.execute(
        "SELECT id FROM multimodal_items WHERE modality = 'image' "
        "ORDER BY (embedding <=> %s::real[]::halfvec) + 0, id LIMIT %s",
        (vector_of(b"same").tolist(), count),
    ).fetchall()
    return [number for (number,) in rows]


def test_pages_repeat_nothing_and_exact_ones_lose_nothing(
    session: Any, connection: Connection, space: Space
) -> None:
    """Where more items are as near as there are on a page, and than the index leads to."""
    store_tied(connection, space, SHUFFLED)
    same = partial(nearest_to, vector_of(b"same"), modality="image", exact=True)
    assert pages(session, same, 70) == exactly(connection, 70)
    image = exactly(connection, 1)[0]
    like = partial(similar_to, image, modality="image", exact=True)
    assert pages(session, like, 35) == exactly(connection, 36)[1:]
    another = partial(nearest_to, vector_of(b"another"), modality="image")
    assert len(pages(session, another, 70)) == 70


@pytest.mark.usefixtures("filled")
def test_a_page_after_what_is_no_item_is_an_error(session: Any) -> None:
    with pytest.raises(DBAPIError, match="there is no item 99"):
        session("execute", nearest_to(CAT, after=99).limit(3))
    with pytest.raises(ConfigurationError, match="an item is a whole number"):
        nearest_to(CAT, after="99")  # type: ignore[arg-type]
