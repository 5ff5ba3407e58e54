"""What the ORM takes and gives: arrays, pgvector's classes, and nothing silently dropped."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pgvector import HalfVector, SparseVector, Vector
from pgvector.psycopg import register_vector
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session, undefer

from pipeline import MultimodalItem, SourceItem, nearest_to, spaces, text_embedding
from pipeline.errors import ConfigurationError
from pipeline.models import QueryEmbedding, SpaceModality
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.engines import create_engine
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex, build_unified_index
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.spaces import described, fill
from tests.helpers.workers import work

CAT = vector_of(b"cat")
GIVEN = {
    "float32": CAT,
    "float64": CAT.astype(np.float64),
    "float16": CAT.astype(np.float16),
    "list": CAT.tolist(),
    "tuple": tuple(CAT.tolist()),
    "HalfVector": HalfVector(CAT.tolist()),
    "Vector": Vector(CAT.tolist()),
    "SparseVector": SparseVector(CAT.tolist()),
    "NumPy's numbers": list(CAT),
}


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection) -> Settings:
    add_texts(connection, ["ant", "bee", "cat"])
    work(settings, space)
    query_vectors.store(connection, space.id, "cat", CAT)
    connection.execute("SELECT FROM refresh_space_statistics()")
    return settings


@pytest.fixture(params=["plain", "register_vector"])
def engine(filled: Settings, url: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """As it is, and where the application has registered pgvector's classes with psycopg."""
    engine = create_engine(url)
    if request.param == "register_vector":
        event.listen(engine, "connect", lambda own, _: register_vector(own))
    yield engine
    engine.dispose()


def assert_is_cat(found: Any) -> None:
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (np.float32, (8,))
    assert found == pytest.approx(CAT, abs=1e-3)


def test_vectors_are_float32_arrays(engine: Engine) -> None:
    with Session(engine) as session:
        item = session.scalars(nearest_to(CAT, modality="text").limit(1)).one()
        assert_is_cat(item.embedding)
        assert_is_cat(session.scalar(select(text_embedding("cat"))))
        assert_is_cat(session.scalars(select(QueryEmbedding)).one().embedding)
        means = {m.modality: m.mean for m in session.scalars(select(SpaceModality))}
        assert means["image"] is None
        assert means["text"].dtype == np.float32


def test_vectors_are_float32_arrays_under_async_too(filled: Settings, url: str) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def ask() -> Any:
        engine = create_async_engine(url.replace("postgresql", "postgresql+psycopg", 1))
        async with AsyncSession(engine) as session:
            query = nearest_to(CAT, modality="text").limit(1).options(
                undefer(MultimodalItem.embedding)
            )  # fmt: skip
            found = (await session.scalars(query)).one().embedding
        await engine.dispose()
        return found

    assert_is_cat(asyncio.run(ask()))


@pytest.mark.parametrize("kind", GIVEN)
def test_a_vector_may_be_given_as_any_of_these(engine: Engine, filled: Settings, kind: str) -> None:
    with Session(engine) as session:
        item, similarity = session.execute(nearest_to(GIVEN[kind], modality="text").limit(1)).one()
        assert (item.content_ref, similarity) == ("cat", pytest.approx(1, abs=1e-3))
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        (found,) = index.retrieve_cross_modal(GIVEN[kind], 1, "text")  # type: ignore[arg-type]
        assert found.document.content_ref == "cat"


def test_what_psycopg_gives_can_be_searched_with(engine: Engine, url: str) -> None:
    with connect(url) as own, Session(engine) as session:
        register_vector(own)
        row = own.execute(
            "SELECT embedding FROM multimodal_items WHERE content_ref = 'cat'"
        ).fetchone()
        assert row is not None
        found = session.scalars(nearest_to(row[0]).limit(1)).one()
        assert found.content_ref == "cat"


def test_spaces_of_the_type_vector_are_alike(
    engine: Engine, filled: Settings, connection: Connection
) -> None:
    embedder = described(weights_sha256="other")
    space = spaces.create(connection, "full", embedder, vector_type="vector")
    fill(filled, space, embedder)
    spaces.build_indexes(connection, space)
    spaces.activate(connection, space, min_coverage=0)
    with Session(engine) as session:
        item = session.scalars(nearest_to(CAT, modality="text").limit(1)).one()
        assert_is_cat(item.embedding)


@pytest.mark.parametrize("vector", ["cat", object(), None, ["a"], {"x": 1}])
def test_what_is_no_vector_is_refused(vector: Any) -> None:
    with pytest.raises(ConfigurationError, match="a query vector is one row of"):
        nearest_to(vector)


def test_metadata_given_to_a_model_is_stored(engine: Engine) -> None:
    rows = [
        SourceItem(source="s", source_key=key, modality="text", content_ref="x", **given)
        for key, given in {
            "short": {"metadata": {"price": 3}},
            "own": {"metadata_": {"price": 3}},
        }.items()
    ]
    with Session(engine) as session:
        session.add_all(rows)
        session.commit()
        stored = session.scalars(select(SourceItem).where(SourceItem.source == "s")).all()
        assert [item.metadata_ for item in stored] == [{"price": 3}] * 2


def test_what_is_no_column_is_refused() -> None:
    with pytest.raises(TypeError, match="SourceItem has no column 'meta'"):
        SourceItem(meta={})
    with pytest.raises(TypeError, match="SourceItem has no column 'metadata'"):
        SourceItem(metadata={}, metadata_={})
    with pytest.raises(AttributeError, match=r"the column is SourceItem\.metadata_"):
        SourceItem().metadata = {}  # type: ignore[misc, assignment]


def test_documents_without_an_id_are_told_apart(settings: Settings, space: Space) -> None:
    documents = [{"id": None, "text": "ant"}, {"id": None, "text": "bee"}, {"id": 0, "text": "cat"}]
    with build_unified_index(documents, [], settings=settings) as index:
        assert len(index) == 3
