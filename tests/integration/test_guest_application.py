"""An application's own engine and session on our tables: its search path is `app` alone."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, DateTime, Engine, Text, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column

from pipeline import (
    MultimodalItem,
    SourceItem,
    items_of,
    nearest_rows,
    nearest_to,
    similar_to,
    spaces,
    text_embedding,
)
from pipeline.models import EmbeddingSpace, QueryEmbedding
from pipeline.models.base import SCHEMA
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.unified_index import UnifiedIndex
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.helpers.workers import work

WORDS = ["ant", "bee", "cat"]


class AppBase(DeclarativeBase):
    """The application's; no schema is named, so that its search path finds them."""


class Product(AppBase):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    source_id: Mapped[int | None] = mapped_column(BigInteger)


@pytest.fixture(
    params=[
        ("public", "public"),
        ("public", "ext"),
        ("shop", "ext"),
        ("shop", None),
        ("My Shop", "app"),
    ],
    ids=lambda p: f"ours in {p[0]}, pgvector in {p[1] or 'the same'}",
)
def schema(request: pytest.FixtureRequest, empty_url: str) -> str:
    """Ours, in a database with that of the application and pgvector's, of which none is ours."""
    ours, vector = request.param
    with connect(empty_url) as connection:
        connection.execute("CREATE SCHEMA app; CREATE SCHEMA ext")
        if vector is not None:
            connection.execute(f"CREATE EXTENSION vector SCHEMA {vector}")
    migrate.upgrade(empty_url, schema=ours)
    with connect(empty_url, schema=ours) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        spaces.activate(connection, space)
    return str(ours)


@pytest.fixture
def settings(empty_url: str, schema: str, settings_of: Callable[..., Settings]) -> Settings:
    return settings_of(empty_url, database_schema=schema)


@pytest.fixture
def engine(empty_url: str, schema: str) -> Iterator[Engine]:
    """As an application makes its own; nothing of it is ours but the map, where it needs one."""
    engine = sqlalchemy.create_engine(
        empty_url.replace("postgresql", "postgresql+psycopg", 1),
        connect_args={"options": "-c search_path=app"},
        execution_options={} if schema == SCHEMA else {"schema_translate_map": {SCHEMA: schema}},
    )
    yield engine
    engine.dispose()


def test_it_adds_searches_and_joins_by_the_orm(engine: Engine, settings: Settings) -> None:
    with Session(engine) as session:
        AppBase.metadata.create_all(session.connection())
        for word in WORDS:
            source = SourceItem(source="app", source_key=word, modality="text", content_ref=word)
            session.add(source)
            session.flush()
            session.add(Product(name=word.upper(), source_id=source.id))
        session.commit()
        space = session.scalars(select(EmbeddingSpace)).one()
        assert (space.name, session.scalar(text("SHOW search_path"))) == ("fake", "app")
    assert settings.database_url
    url, schema = settings.database_url.get_secret_value(), settings.database_schema
    with connect(url, schema=schema) as connection:
        work(settings, spaces.active_space(connection))
        query_vectors.store(connection, 1, "asked", vector_of(b"cat"))
    with Session(engine) as session:
        by_vector = nearest_to(vector_of(b"cat"), modality="text")
        by_text = nearest_to(text_embedding("asked"))
        for query in (by_vector, by_text):
            rows = session.execute(
                query.add_columns(Product.name)
                .join(Product, Product.source_id == MultimodalItem.source_id)
                .limit(3)
            ).all()
            item, similarity, name = rows[0]
            assert (item.content_ref, name) == ("cat", "CAT")
            assert similarity == pytest.approx(1, abs=1e-3)
        assert len(session.execute(similar_to(item.id)).all()) == 2
        assert session.scalar(select(func.count()).select_from(QueryEmbedding)) == 1
        vector = session.scalar(select(text_embedding("asked")))
        assert item.embedding == pytest.approx(vector, abs=1e-3)
        session.execute(sqlalchemy.delete(SourceItem).where(SourceItem.source_key == "cat"))
        session.commit()
        assert session.scalar(select(func.count()).select_from(MultimodalItem)) == 2


class Named(AppBase):
    """A table that is attached."""

    __tablename__ = "named"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    items: Mapped[list[MultimodalItem]] = items_of("named", content="name")


def test_its_attached_table_is_searched_by_the_orm(engine: Engine, settings: Settings) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    contents = '{"name": {"modality": "text", "content": "name"}}'
    assert settings.database_url
    url, schema = settings.database_url.get_secret_value(), settings.database_schema
    with Session(engine) as session:
        AppBase.metadata.create_all(session.connection())
        session.commit()
    with connect(url, schema=schema) as connection:
        connection.execute("SELECT attach_source('app.named', %s)", (contents,))
        with Session(engine) as session:
            session.add_all(Named(id=n, at=at, name=word) for n, word in enumerate(WORDS))
            session.commit()
        work(settings, spaces.active_space(connection))
        query_vectors.store(connection, 1, "asked", vector_of(b"cat"))
    for vector in (vector_of(b"cat"), text_embedding("asked")):
        with Session(engine) as session:
            query = nearest_rows(Named, vector, content="name", k=2)
            first, second = session.scalars(query.options(joinedload(Named.items))).unique()
            assert (first.name, second.name in WORDS) == ("cat", True)
            assert [item.content_ref for item in first.items] == ["cat"]
            assert first.items[0].source_row(session, Named) is first
            session.expire(first)
            assert [item.content_ref for item in first.items] == ["cat"]


def test_an_index_of_ours_finds_everything_too(engine: Engine, settings: Settings) -> None:
    with Session(engine) as session, session.begin():
        session.add(SourceItem(source="app", source_key="1", modality="text", content_ref="cat"))
    assert settings.database_url
    url, schema = settings.database_url.get_secret_value(), settings.database_schema
    with connect(url, schema=schema) as connection:
        work(settings, spaces.active_space(connection))
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        (found,) = index.retrieve_cross_modal("cat", with_embeddings=True)
        assert found.document.content_ref == "cat"
        assert found.similarity == pytest.approx(1, abs=1e-3)
