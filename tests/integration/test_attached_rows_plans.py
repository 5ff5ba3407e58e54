"""An attached table's rows and their items are looked up by indexes, and the nearest by theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, DateTime, Engine, Select, event, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    mapped_column,
    selectinload,
)

from pipeline import MultimodalItem, items_of, nearest_rows
from pipeline.postgres.connections import connect
from tests.helpers.databases import database_url
from tests.helpers.fakes import vector_of

CAT = vector_of(b"cat")
ROWS = 4000


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str]
    price: Mapped[int]
    titles: Mapped[list[MultimodalItem]] = items_of("products", content="title")


class Visit(Base):
    """Its key is of a type whose text depends on the session."""

    __tablename__ = "visits"
    at: Mapped[Any] = mapped_column(DateTime(timezone=True), primary_key=True)
    product_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str]
    titles: Mapped[list[MultimodalItem]] = items_of("visits", content="title")


FILL = """
CREATE TABLE products (id bigint PRIMARY KEY, title text, price integer);
CREATE TABLE visits (at timestamptz, product_id bigint, title text, PRIMARY KEY (at, product_id));
SELECT attach_source(t, '{"title": {"modality": "text", "content": "title"}}')
FROM unnest('{products,visits}'::regclass[]) AS t;
INSERT INTO products SELECT n, 'p' || n, mod(n, 100) FROM generate_series(1, %(rows)s) AS n;
INSERT INTO visits SELECT '2026-01-01Z'::timestamptz + n * interval '1 hour', n, 'v' || n
FROM generate_series(1, %(rows)s) AS n;
INSERT INTO multimodal_items
    (source_id, modality, content_ref, space_id, content_sha256, embedding)
SELECT s.id, s.modality, s.content_ref, 1, sha256(s.content_ref::bytea), l2_normalize((
    SELECT array_agg(random() - 0.5) FROM generate_series(1, 8 + 0 * s.id))::vector)::halfvec(8)
FROM source_items AS s;
DELETE FROM ingest_jobs;
"""


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, server: Any, template: str) -> Iterator[Engine]:

    name = "plans_of_attached_rows"
    with connect(server.url()) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
    url = database_url(server.url(), name)
    with connect(url) as own:
        own.execute((FILL % {"rows": ROWS}).encode())
        own.execute("VACUUM ANALYZE")
    engine = sqlalchemy.create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    yield engine
    engine.dispose()
    with connect(server.url()) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Those that the engine runs meanwhile, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_1: Any, _2: Any, statement: str, parameters: Any, *_3: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def plan_of_last(session: Session, seen: list[tuple[str, Any]]) -> str:
    statement, parameters = seen[-1]
    lines = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters)
    return "\n".join(line for (line,) in lines)


def plan(session: Session, query: Select[Any]) -> str:
    with statements(session.get_bind()) as seen:  # type: ignore[arg-type]
        session.execute(query).unique().all()
    return plan_of_last(session, seen)


def assert_by_index(plan: str, *indexes: str) -> None:
    for index in indexes:
        assert f" using {index} " in plan, plan
    assert "Seq Scan on source_items" not in plan, plan
    assert "Seq Scan on products" not in plan, plan
    assert "Seq Scan on multimodal_items_text" not in plan, plan


ITEM, ROW_KEY = "multimodal_items_text_s1_source_part_unique", "source_items_row_key"
LOADS: list[Callable[..., Any]] = [selectinload, joinedload]


@pytest.mark.parametrize("row_class", [Product, Visit])
def test_a_row_finds_its_items_by_its_key(engine: Engine, row_class: Any) -> None:
    with Session(engine) as session:
        row = session.scalars(
            select(row_class).where(row_class.title.endswith("77")).limit(1)
        ).one()
        with statements(engine) as seen:
            (item,) = row.titles
        assert item.content_ref == row.title
        assert_by_index(plan_of_last(session, seen), ITEM, ROW_KEY)


@pytest.mark.parametrize("row_class", [Product, Visit])
@pytest.mark.parametrize("load", LOADS)
def test_some_rows_find_theirs_by_their_keys(
    engine: Engine, row_class: Any, load: Callable[..., Any]
) -> None:
    with Session(engine) as session:
        key = Product.id if row_class is Product else Visit.product_id
        query = select(row_class).where(key.between(100, 110)).options(load(row_class.titles))
        with statements(engine) as seen:
            rows = session.scalars(query).unique().all()
        assert [row.titles[0].content_ref for row in rows] == [row.title for row in rows]
        assert_by_index(plan_of_last(session, seen), ITEM, ROW_KEY)


@pytest.mark.parametrize(
    ("row_class", "primary"), [(Product, "products_pkey"), (Visit, "visits_pkey")]
)
def test_an_item_finds_its_row_by_the_tables_own_key(
    engine: Engine, row_class: Any, primary: str
) -> None:
    with Session(engine) as session:
        item = session.scalars(
            select(MultimodalItem).where(MultimodalItem.content_ref.in_(["p77", "v77"]))
        ).all()[row_class is Visit]
        with statements(engine) as seen:
            row = item.source_row(session, row_class)
        assert row.title == item.content_ref
        assert_by_index(plan_of_last(session, seen), primary, "source_items_pkey")
        joined = select(row_class).join(row_class.titles).where(MultimodalItem.id == item.id)
        by_join = plan(session, joined)
        assert_by_index(by_join, primary)
        assert "CASE WHEN" in by_join


def test_the_nearest_rows_come_by_the_vectors_index(engine: Engine) -> None:
    nearest = nearest_rows(Product, CAT, content="title", k=10)
    with Session(engine) as session:
        for query in (nearest, nearest.where(Product.price < 50)):
            shown = plan(session, query)
            assert_by_index(
                shown, "multimodal_items_text_s1_embedding", "products_pkey", ITEM, ROW_KEY
            )
            other = shown.partition("on multimodal_items_image_s1 ")[2].partition("\n")[0]
            assert "(never executed)" in other


def test_the_nearest_by_the_index_are_those_of_an_exact_comparison(engine: Engine) -> None:
    query = nearest_rows(Product, CAT, content="title", k=20).where(Product.price < 50)
    of_two_columns = nearest_rows(Visit, CAT, content="title", k=20)
    with Session(engine) as session:
        assert len(session.execute(of_two_columns).all()) == 20
        by_index = [row.id for row in session.scalars(query)]
        session.execute(sqlalchemy.text("SET LOCAL enable_indexscan = off"))
        exact = [row.id for row in session.scalars(query)]
    assert len(set(by_index) & set(exact)) >= 19
