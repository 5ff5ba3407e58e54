"""The rows of an attached table in the ORM: their items, the nearest of them, and back."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy
from psycopg import sql
from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Double,
    Engine,
    Integer,
    Interval,
    Numeric,
    String,
    Text,
    TypeDecorator,
    Uuid,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from pipeline import MultimodalItem, SourceItem, items_of, nearest_rows, text_embedding
from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import vector_of
from tests.helpers.workers import work

CONTENTS = {
    "title": {"modality": "text", "content": "title"},
    "words": {"modality": "text", "content": "words", "each": True},
    "photo": {"modality": "image", "content": "photo"},
}
CAT = vector_of(b"cat")
# A session of the application; the text of a key depends on the time zone.
OPTIONS = "-c search_path=app -c timezone=Asia/Kathmandu"


class Code(TypeDecorator[str]):
    """A type of the application's own."""

    impl = String(20)
    cache_ok = True


class Guid(TypeDecorator[Any]):
    """One that is of another type elsewhere than on PostgreSQL."""

    impl = sqlalchemy.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sqlalchemy.Dialect) -> Any:
        return dialect.type_descriptor(
            Uuid() if dialect.name == "postgresql" else sqlalchemy.CHAR(32)
        )


# The type in the table, that in the class, and the keys of three rows.
AT = [datetime(2026, 1, day, 12, 30, 0, day, tzinfo=UTC) for day in (1, 2, 3)]
KEYS: dict[str, list[tuple[str, Any, list[Any]]]] = {
    "bigint": [("bigint", BigInteger, [1, 2**40, -3])],
    "bigint as Integer": [("bigint", Integer, [1, 2, -3])],
    "integer as BigInteger": [("integer", BigInteger, [1, 2, 3])],
    "text": [("text", Text, ["a", 'b "ü", #1', " c "])],
    "varchar of the application's": [("varchar(20)", Code(), ["a", "b", "c"])],
    "char": [("char(5)", sqlalchemy.CHAR(5), ["a", "b", "c"])],
    "uuid": [("uuid", Uuid, [UUID(int=n) for n in (1, 2, 3)])],
    "uuid of the application's": [("uuid", Guid(), [UUID(int=n) for n in (1, 2, 3)])],
    "timestamptz": [("timestamptz", DateTime(timezone=True), AT)],
    "timestamp": [("timestamp", DateTime, [at.replace(tzinfo=None) for at in AT])],
    "numeric": [("numeric", Numeric, [Decimal("1.50"), Decimal("2"), Decimal("1e20")])],
    "numeric(8,2)": [("numeric(8,2)", Numeric(8, 2), [Decimal("1.5"), Decimal("2"), Decimal("3")])],
    "double": [("double precision", Double, [0.1, 1 / 3, 2e-30])],
    "interval": [("interval", Interval, [at - AT[0] for at in AT])],
    "two": [("text", Text, ["a", "a", "b"]), ("bigint", BigInteger, [1, 2, 1])],
    "three": [
        ("timestamptz", DateTime(timezone=True), AT),
        ("numeric(8,2)", Numeric(8, 2), [Decimal("1.5"), Decimal("2"), Decimal("3")]),
        ("uuid", Uuid, [UUID(int=n) for n in (1, 2, 3)]),
    ],
}


class ShopBase(DeclarativeBase):
    """The application's; its search path finds the tables."""


class Product(ShopBase):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    words: Mapped[list[str | None] | None] = mapped_column(ARRAY(Text))
    photo: Mapped[str | None] = mapped_column(Text)
    price: Mapped[int | None] = mapped_column(Integer)
    sku: Mapped[str] = mapped_column(Text, server_default=sqlalchemy.FetchedValue())

    word_items: Mapped[list[MultimodalItem]] = items_of("products", content="words")
    title_item: Mapped[MultimodalItem | None] = items_of("products", content="title")
    all_items = items_of("products", content=["title", "words"], lazy="selectin")


class Review(ShopBase):
    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(sqlalchemy.ForeignKey("products.id"))
    product: Mapped[Product] = relationship()


def attach(connection: Connection, table: str, **arguments: Any) -> None:
    given = sql.SQL("").join(
        sql.SQL(", {} => {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in arguments.items()
    )
    connection.execute(
        sql.SQL("SELECT attach_source({}, {}{})").format(
            sql.Literal(table), sql.Literal(json.dumps(CONTENTS)), given
        )
    )


TABLES = """
CREATE SCHEMA app;
CREATE TABLE app.products (
    id bigint PRIMARY KEY, title text, words text[], photo text, price integer,
    sku text NOT NULL UNIQUE DEFAULT gen_random_uuid()::text);
CREATE TABLE app.reviews (
    id integer PRIMARY KEY, product_id bigint REFERENCES app.products ON DELETE CASCADE);
"""


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = sqlalchemy.create_engine(
        url.replace("postgresql", "postgresql+psycopg", 1), connect_args={"options": OPTIONS}
    )
    yield engine
    engine.dispose()


@pytest.fixture
def tables(connection: Connection) -> None:
    connection.execute(TABLES.encode())


@pytest.fixture
def shop(engine: Engine, tables: None, connection: Connection, embed: Callable[[], None]) -> Engine:
    """Three products with items."""
    attach(connection, "app.products", metadata="{price}")
    with Session(engine) as session:
        session.add_all(
            [
                Product(id=1, title="ant", words=["dog", None, "cat"], price=5, sku="one"),
                Product(id=2, title="cat", words=["eel"], price=50, sku="two"),
                Product(id=3, price=5, sku="three"),
            ]
        )
        session.flush()
        session.add_all([Review(id=1, product_id=1), Review(id=2, product_id=1)])
        session.commit()
    embed()
    return engine


@pytest.fixture
def embed(settings: Settings, space: Space) -> Callable[[], None]:
    def embed() -> None:
        assert work(settings, space).failed == 0

    return embed


def make_class(columns: list[tuple[str, Any, list[Any]]]) -> Any:
    """A class for a table whose key has these columns."""

    class Base(DeclarativeBase):
        pass

    return type(
        "Keyed",
        (Base,),
        {
            "__tablename__": "keyed",
            **{f"k{n}": mapped_column(k, primary_key=True) for n, (_, k, _) in enumerate(columns)},
            "title": mapped_column(Text),
            "titles": items_of("keyed", content="title"),
        },
    )  # fmt: skip


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_any_type_lead_to_items_and_back(
    engine: Engine, connection: Connection, embed: Callable[[], None], kind: str
) -> None:
    columns = KEYS[kind]
    made = ", ".join(f"k{n} {of_table}" for n, (of_table, _, _) in enumerate(columns))
    names = ", ".join(f"k{n}" for n in range(len(columns)))
    connection.execute(
        f"CREATE SCHEMA app CREATE TABLE keyed ({made}, title text, words text[], photo text, "
        f"PRIMARY KEY ({names}))".encode()
    )
    attach(connection, "app.keyed")
    keyed = make_class(columns)
    words = ["ant", "bee", "cat"]
    with Session(engine) as session:
        rows = [
            keyed(**{f"k{n}": values[i] for n, (_, _, values) in enumerate(columns)}, title=word)
            for i, word in enumerate(words)
        ]
        session.add_all(rows)
        session.commit()
        embed()
        # As the application made them: what it gave for a key need not be as it is stored.
        assert [[item.content_ref for item in row.titles] for row in rows] == [[w] for w in words]
    for way in (None, selectinload, joinedload):
        with Session(engine) as session:
            query = select(keyed).order_by(keyed.title)
            if way is not None:
                query = query.options(way(keyed.titles))
            found = session.scalars(query).unique().all()
            assert [[item.content_ref for item in row.titles] for row in found] == [
                [w] for w in words
            ]
            assert [row.titles[0].source_row(session, keyed) for row in found] == found
    with Session(engine) as session:
        row, similarity = session.execute(nearest_rows(keyed, CAT, content="title", k=1)).one()
        assert (row.title, round(similarity, 2)) == ("cat", 1)
        joined = select(keyed.title).join(keyed.titles).where(MultimodalItem.content_ref == "bee")
        assert session.scalars(joined).all() == ["bee"]
        assert session.scalars(select(keyed.title).where(~keyed.titles.any())).all() == []


def test_items_come_in_the_order_of_the_array(
    shop: Engine, connection: Connection, embed: Callable[[], None]
) -> None:
    words = [f"w{n}" if n % 3 else None for n in range(25)]
    with Session(shop) as session:
        session.add(Product(id=4, title="x", words=words))
        # Changed in another order than that of the array.
        session.commit()
        connection.execute("UPDATE app.products SET words[2] = 'new' WHERE id = 4")
        embed()
        expected = ["new" if n == 1 else w for n, w in enumerate(words) if w]
        for way in (None, selectinload, joinedload):
            session.expunge_all()
            query = select(Product).where(Product.id == 4)
            if way is not None:
                query = query.options(way(Product.word_items))
            row = session.scalars(query).unique().one()
            assert [item.content_ref for item in row.word_items] == expected


def test_a_relationship_may_be_one_item_or_of_several_contents(shop: Engine) -> None:
    with Session(shop) as session:
        first, second, third = session.scalars(select(Product).order_by(Product.id))
        assert first.title_item is not None
        assert (first.title_item.content_ref, third.title_item) == ("ant", None)
        assert sorted(item.content_ref for item in first.all_items) == ["ant", "cat", "dog"]
        assert [item.content_ref for item in second.all_items] == ["cat", "eel"]
        first.word_items = []  # only read: nothing of it is written
        session.commit()
        session.expire_all()
        assert [item.content_ref for item in first.word_items] == ["dog", "cat"]


def test_a_row_comes_once_by_its_best_content(shop: Engine) -> None:
    with Session(shop) as session:
        query = nearest_rows(Product, CAT, content=["title", "words"]).add_columns(
            MultimodalItem.content_ref, SourceItem.source_key
        )
        found = [
            (row.id, word, key, round(similarity, 2))
            for row, similarity, word, key in session.execute(query)
        ]
        assert found == [(1, "cat", "1#3", 1), (2, "cat", "2", 1)]
        words = session.execute(nearest_rows(Product, CAT, content="words")).all()
        assert [row.id for row, _ in words] == [1, 2]
        titles = session.execute(nearest_rows(Product, CAT, content="title", k=1)).all()
        assert [row.id for row, _ in titles] == [2]


def test_it_composes_with_joins_filters_and_metadata(shop: Engine) -> None:
    nearest = nearest_rows(Product, CAT, content="title")
    with Session(shop) as session:
        cheap = session.scalars(nearest.where(Product.price < 20).limit(10)).all()
        assert [row.id for row in cheap] == [1]
        by_metadata = nearest_rows(Product, CAT, content="title", metadata={"price": 50})
        assert [row.id for row in session.scalars(by_metadata)] == [2]
        reviewed = nearest.join(Review, Review.product_id == Product.id).add_columns(Review.id)
        assert [(row.id, review) for row, _, review in session.execute(reviewed)] == [
            (1, 1), (1, 2),
        ]  # fmt: skip
        other = aliased(Product)
        assert [row.id for row in session.scalars(nearest_rows(other, CAT, content="title"))] == [
            2, 1,
        ]  # fmt: skip
        inner = nearest.limit(1).subquery()
        assert session.execute(select(inner.c.id)).scalars().all() == [2]
        loaded = nearest.options(selectinload(Product.word_items)).limit(1)
        assert [i.content_ref for i in session.scalars(loaded).one().word_items] == ["eel"]
        assert session.scalar(select(func.count()).select_from(nearest.subquery())) == 2


def test_the_vector_may_be_that_of_a_text(
    shop: Engine, connection: Connection, space: Space
) -> None:
    query_vectors.store(connection, space.id, "a cat", CAT)
    with Session(shop) as session:
        query = nearest_rows(Product, text_embedding("a cat"), content="title", k=1)
        assert session.scalars(query).one().id == 2


def test_the_row_of_an_item_is_there_until_it_is_gone(shop: Engine, connection: Connection) -> None:
    with Session(shop) as session:
        item = session.scalars(
            select(MultimodalItem).where(MultimodalItem.content_ref == "eel")
        ).one()
        assert item.source_row(session, Product) is session.get(Product, 2)
        own = SourceItem(source="own", source_key="1", modality="text", content_ref="x")
        session.add(own)
        session.flush()
        stranger = MultimodalItem(id=0, source_id=own.id, modality="text", content_ref="x")
        with pytest.raises(ConfigurationError, match="is of the source own, not of products"):
            stranger.source_row(session, Product)
        session.commit()
        connection.execute("ALTER TABLE app.products DISABLE TRIGGER USER")
        connection.execute("DELETE FROM app.products WHERE id = 2")
        session.expire_all()
        assert item.source_row(session, Product) is None
        connection.execute("DELETE FROM source_items WHERE source_key LIKE '2%'")
        assert item.source_row(session, Product) is None


def test_under_async_the_same(shop: Engine) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def ask() -> Any:
        engine = create_async_engine(shop.url, connect_args={"options": OPTIONS})
        async with AsyncSession(engine) as session:
            query = nearest_rows(Product, CAT, content="title", k=1).add_columns(MultimodalItem)
            row, _, item = (await session.execute(query)).one()
            (loaded,) = await session.scalars(
                select(Product).where(Product.id == 1).options(selectinload(Product.word_items))
            )
            back = await session.run_sync(item.source_row, Product)
            words = [item.content_ref for item in loaded.word_items]
        await engine.dispose()
        return row.id, back is row, words

    assert asyncio.run(ask()) == (2, True, ["dog", "cat"])


def test_an_attachment_by_another_key_and_name(
    engine: Engine, tables: None, connection: Connection, embed: Callable[[], None]
) -> None:
    attach(connection, "app.products", key="{sku}", name="goods.of mine")

    class Base(DeclarativeBase):
        pass

    class Goods(Base):
        __tablename__ = "products"
        number: Mapped[int] = mapped_column("id", BigInteger, primary_key=True)
        code: Mapped[str] = mapped_column("sku", Text)
        title: Mapped[str] = mapped_column(Text)
        titles: Mapped[list[MultimodalItem]] = items_of("goods.of mine", content="title", key="sku")

    with Session(engine) as session:
        session.add(Goods(number=1, code="x1", title="cat"))
        session.commit()
        embed()
        row, _ = session.execute(nearest_rows(Goods, CAT, content="title", key="sku")).one()
        (item,) = row.titles
        assert item.source_row(session, Goods, key=["sku"]) is row
        # The class has said it already.
        assert session.execute(nearest_rows(Goods, CAT, content="title")).one()[0] is row
        assert item.source_row(session, Goods) is row
        with pytest.raises(ConfigurationError, match="Goods has no column 'code'; it has id, sku"):
            nearest_rows(Goods, CAT, content="title", key="code")
        with pytest.raises(ConfigurationError, match=r"is of the source goods\.of mine\.title"):
            item.source_row(session, Goods, name="goods", key="sku")


def test_a_key_in_another_order_or_of_other_columns_is_an_error(
    engine: Engine, connection: Connection, embed: Callable[[], None]
) -> None:
    """Whoever asks by it would have the items of other rows."""
    connection.execute(
        "CREATE SCHEMA app CREATE TABLE keyed (k1 bigint, k0 bigint, title text, words text[], "
        "photo text, PRIMARY KEY (k1, k0))"
    )
    attach(connection, "app.keyed")
    keyed = make_class([("bigint", BigInteger, []), ("bigint", BigInteger, [])])  # k0, k1
    other: Any = type("Other", (keyed,), {"titles": items_of("keyed", content="title", key="k0")})
    with Session(engine) as session:
        session.add_all([keyed(k0=1, k1=2, title="ant"), keyed(k0=2, k1=1, title="bee")])
        session.commit()
        embed()
        named = {"key": ["k1", "k0"]}
        row, _ = session.execute(nearest_rows(keyed, CAT, content="title", **named)).first()  # type: ignore[misc]
        (item,) = session.scalars(select(MultimodalItem).filter_by(content_ref=row.title))
        assert item.source_row(session, keyed, **named) is row
    wrong: list[Callable[[Session], Any]] = [
        lambda s: s.scalars(select(keyed)).first().titles,  # type: ignore[union-attr]
        lambda s: s.scalars(select(keyed).options(selectinload(keyed.titles))).all(),
        lambda s: s.scalars(select(keyed).options(joinedload(keyed.titles))).unique().all(),
        lambda s: s.scalars(select(keyed).where(keyed.titles.any())).all(),
        lambda s: s.execute(nearest_rows(keyed, CAT, content="title")).all(),
        lambda s: s.scalars(select(other)).first().titles,  # type: ignore[union-attr]
        lambda s: s.merge(item).source_row(s, keyed),
    ]
    for ask in wrong:
        with Session(engine) as session, pytest.raises(DBAPIError, match="is attached by") as said:
            ask(session)
        hint = said.value.orig.diag.message_hint  # type: ignore[union-attr]
        assert hint.endswith('key=["k1", "k0"].')


@pytest.mark.parametrize(
    ("content", "name", "said", "hint"),
    [
        ("title", "nothing", "there is no attached source 'nothing'", "There are: products."),
        ("foto", None, "products has no content 'foto'", "It has photo, title, words."),
        (["title", "photo"], None, "are of several modalities", "of one modality at a time"),
    ],
)
def test_what_is_not_attached_so_is_an_error_of_the_database(
    shop: Engine, content: Any, name: str | None, said: str, hint: str
) -> None:
    with Session(shop) as session, pytest.raises(DBAPIError, match=said) as caught:
        session.execute(nearest_rows(Product, CAT, content=content, name=name, k=1))
    assert hint in str(caught.value.orig.diag.message_hint)  # type: ignore[union-attr]


def test_an_analyst_may_ask_too(shop: Engine, connection: Connection, url: str) -> None:
    with role(connection, "orm_analyst"):
        connection.execute("GRANT pipeline_analyst TO orm_analyst")
        connection.execute("GRANT USAGE ON SCHEMA app TO orm_analyst")
        connection.execute("GRANT SELECT ON app.products TO orm_analyst")
        engine = sqlalchemy.create_engine(
            login_url(url, "orm_analyst").replace("postgresql", "postgresql+psycopg", 1),
            connect_args={"options": OPTIONS},
        )
        with Session(engine) as session:
            row = session.scalars(nearest_rows(Product, CAT, content="words", k=1)).one()
            assert [item.content_ref for item in row.word_items] == ["dog", "cat"]
            assert row.word_items[0].source_row(session, Product) is row
        engine.dispose()


# At what a session may have, on which the text of a key depends.
ODD = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-2",
    "bytea_output": "escape",
}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timestamptz", "2026-01-01 23:00:00.5Z"),
        ("timestamptz", "infinity"),
        ("timestamptz", "0044-03-15 12:00Z BC"),
        ("timestamp", "2026-01-02 03:04:05"),
        ("date", "2026-01-02"),
        ("interval", "-1 day 2 hours"),
        ("double precision", "0.30000000000000004"),
        ("real", "1e-7"),
        ("bytea", r"\x00ff"),
        ("money", "1.50"),
        ("bigint", "-9223372036854775808"),
        ("numeric", "1.500"),
        ("boolean", "true"),
        ("inet", "10.0.0.1/8"),
        ("text", 'a "quoted" é'),
        ("int4range", "[1,5)"),
    ],
)
def test_a_key_is_written_alike_in_every_session(
    connection: Connection, kind: str, value: str
) -> None:
    connection.execute(
        f"CREATE TABLE one (k {kind} PRIMARY KEY, t text);"
        f"CREATE TABLE two (k {kind}, n integer, t text, PRIMARY KEY (k, n))".encode()
    )
    for table in ("one", "two"):
        connection.execute(
            'SELECT attach_source(%s, \'{"t": {"modality": "text", "content": "t"}}\')',
            (table,),
        )
    connection.execute(
        "WITH o AS (INSERT INTO one VALUES (%s, 'x')) INSERT INTO two VALUES (%s, 7, 'x')",
        (value, value),
    )
    for name, setting in ODD.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, setting))
    found = connection.execute(
        "SELECT s.source, s.row_key = w.written FROM source_items AS s JOIN ("
        "SELECT 'one.t', row_key_text(k) FROM one UNION ALL "
        "SELECT 'two.t', jsonb_build_array(row_key_json(k), row_key_json(n))::text FROM two"
        ") AS w (source, written) USING (source) ORDER BY 1"
    ).fetchall()
    assert found == [("one.t", True), ("two.t", True)]


@pytest.mark.parametrize("content", ["", "a.b", [], ["title", "x y"], [None], "ph%"])
def test_what_is_no_content_is_refused_at_once(content: Any) -> None:
    for ask in (
        lambda: items_of("products", content=content),
        lambda: nearest_rows(Product, CAT, content=content),
    ):
        with pytest.raises(ConfigurationError, match="a content has a name of letters"):
            ask()
    with pytest.raises(ConfigurationError, match="a query vector is one row of"):
        nearest_rows(Product, "cat", content="title")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="k is a whole number"):
        nearest_rows(Product, CAT, content="title", k="3")  # type: ignore[arg-type]


def test_a_class_with_items_of_several_sources_is_asked_which() -> None:
    class Base(DeclarativeBase):
        pass

    class Twice(Base):
        __tablename__ = "twice"
        id: Mapped[int] = mapped_column(primary_key=True)
        one = items_of("one", content="title")
        two = items_of("two", content="title")

    with pytest.raises(ConfigurationError, match="items of one and two; say of which: name='one'"):
        nearest_rows(Twice, CAT, content="title")
