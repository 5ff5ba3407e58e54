"""`op.attach_source()` and `op.detach_source()` in an application's migrations."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps
from psycopg import errors, sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pipeline import spaces
from pipeline.integrations.alembic import AttachSourceOp, DetachSourceOp, register_operations
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from tests.helpers.fakes import FakeEmbedder

PHOTO = {"photo": {"modality": "image", "content": "photo_url"}}
# Each has a sign that means something to one who reads SQL on its way.
ODD = {
    "t": {
        "modality": "text",
        "content": r"name || ' :id %s %% \d ''é' || E'\\' || chr(9) || '	'",
    }
}
TABLE = """
CREATE SCHEMA app;
CREATE TABLE app."Pro.ducts" (
    id bigint PRIMARY KEY, sku text NOT NULL UNIQUE, name text, photo_url text, price numeric,
    "Odd ""one, {x}" text, published boolean);
CREATE TABLE app.shops (id integer PRIMARY KEY, name text);
"""
RELATION = 'app."Pro.ducts"'


@pytest.fixture(params=["public", "Our :shop"])
def schema(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def application(empty_url: str, schema: str) -> Iterator[Connection]:
    """Its own connection, with neither our schema nor pgvector's on the search path."""
    migrate.upgrade(empty_url, schema=schema)
    with connect(empty_url, schema=schema) as own:
        spaces.activate(own, spaces.create(own, "fake", FakeEmbedder()))
        own.execute(TABLE)
    engine = sqlalchemy.create_engine(
        empty_url.replace("postgresql", "postgresql+psycopg", 1),
        connect_args={"options": "-c search_path=app"},
    )
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def definition(empty_url: str, schema: str) -> Callable[[], dict[str, Any]]:
    """What is attached, as attached_sources says."""

    def read() -> dict[str, Any]:
        with connect(empty_url, schema=schema) as own:
            return {
                name: (relation, capture, on_error, said)
                for name, relation, capture, on_error, said in own.execute(
                    "SELECT name, relation::text, capture, on_error, definition "
                    "FROM attached_sources"
                )
            }

    return read


def operations_on(connection: Connection, schema: str | None) -> Any:
    register_operations(schema)
    return Operations(MigrationContext.configure(connection))


def as_script(schema: str, run: Callable[[Any], object]) -> str:
    """What `alembic upgrade --sql` prints of it."""
    register_operations(schema)
    printed = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": printed}
    )
    run(Operations(context))
    return printed.getvalue()


EVERYTHING: dict[str, Any] = {
    "contents": {**PHOTO, **ODD},
    "name": "the products",
    "metadata": ["price", 'Odd "one, {x}'],
    "key": ["sku"],
    "filter": r"published AND name !~ '^\d:x %'",
    "capture": "row",
    "on_error": "raise",
    "depends_on": ["app.shops"],
}
STORED: tuple[str, str, str, dict[str, Any]] = (
    'app."Pro.ducts"',
    "row",
    "raise",
    {
        "contents": EVERYTHING["contents"],
        "metadata": r'{"price","Odd \"one, {x}"}',
        "key": ["sku"],
        "filter": EVERYTHING["filter"],
        "depends_on": ["app.shops"],
    },
)


@pytest.mark.parametrize("how", ["now", "by a script", "rendered"])
def test_every_argument_arrives_as_it_was_given(
    application: Connection, schema: str, definition: Callable[[], dict[str, Any]], how: str,
    empty_url: str,
) -> None:  # fmt: skip
    if how == "by a script":
        script = as_script(schema, lambda op: op.attach_source(RELATION, **EVERYTHING))
        with connect(empty_url) as psql:
            psql.execute("SET search_path = app")
            psql.execute(script.encode())
    else:
        op = operations_on(application, schema)
        attach = AttachSourceOp(RELATION, **EVERYTHING)
        if how == "rendered":
            exec("if True:\n    " + render_python_code(UpgradeOps([attach])), {"op": op})
        else:
            op.attach_source(RELATION, **EVERYTHING)
        application.commit()
    (relation, capture, on_error, said) = definition()["the products"]
    given = {argument: said[argument] for argument in STORED[-1]}
    assert (relation, capture, on_error, given) == STORED


def test_what_is_not_given_is_as_the_function_has_it(
    application: Connection, schema: str, definition: Callable[[], dict[str, Any]]
) -> None:
    op = operations_on(application, schema)
    op.attach_source("shops", contents={"name": {"modality": "text", "content": "name"}})
    application.commit()
    assert definition()["shops"][1:3] == ("statement", "warn")
    op.detach_source("shops")
    application.commit()
    assert definition() == {}


def test_rows_of_the_application_are_followed_and_kept_if_it_says_so(
    application: Connection, schema: str, empty_url: str
) -> None:
    op = operations_on(application, schema)
    op.attach_source(RELATION, contents={"name": {"modality": "text", "content": "name"}})
    application.execute(
        text("""INSERT INTO "Pro.ducts" (id, sku, name) VALUES (1, 'a', 'ant'), (2, 'b', '')""")
    )
    op.detach_source("Pro.ducts", keep_items=True)
    application.commit()
    with connect(empty_url, schema=schema) as own:
        rows = own.execute("SELECT source, source_key, row_key, content_ref FROM source_items")
        assert rows.fetchall() == [("Pro.ducts.name", "1", "1", "ant")]


def test_the_schema_is_that_of_the_setting_where_none_is_given(
    application: Connection, schema: str, monkeypatch: pytest.MonkeyPatch,
    definition: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    monkeypatch.setenv("PIPELINE_SCHEMA", schema)
    operations_on(application, None).attach_source(RELATION, contents=PHOTO)
    application.commit()
    assert list(definition()) == ["Pro.ducts"]


def test_what_the_function_refuses_is_its_sentence(application: Connection, schema: str) -> None:
    op = operations_on(application, schema)
    with pytest.raises(DBAPIError, match="there is no capture") as caught:
        op.attach_source(RELATION, contents=PHOTO, capture="magic")
    assert "Use auto, statement" in str(caught.value.orig.diag.message_hint)  # type: ignore[union-attr]
    application.rollback()
    with pytest.raises(DBAPIError, match="there is no attached source 'nothing'") as caught:
        op.detach_source("nothing")
    assert isinstance(caught.value.orig, errors.NoDataFound)
    with pytest.raises(TypeError, match="contens"):
        op.attach_source(RELATION, contens=PHOTO)


@pytest.mark.parametrize(
    ("relation", "name"),
    [
        ("products", "products"),
        ("Shop.Products", "products"),
        ('"My Shop"."Pro.ducts"', "Pro.ducts"),
        ('shop."a""b"', 'a"b'),
        ("shop.ÄPFEL", "Äpfel"),
    ],
)
def test_attaching_is_reversed_by_the_name_that_it_gets(relation: str, name: str) -> None:
    attach = AttachSourceOp(relation, contents=PHOTO)
    assert attach.reverse().name == name
    assert AttachSourceOp(relation, contents=PHOTO, name="other").reverse().name == "other"
    assert attach.reverse().reverse() is attach
    with pytest.raises(ValueError, match="how products was attached is not known"):
        DetachSourceOp("products").reverse()


def test_the_name_is_the_one_that_the_database_gives(
    application: Connection, schema: str, definition: Callable[[], dict[str, Any]]
) -> None:
    op = operations_on(application, schema)
    for table in ("ÄPFEL", '"Ä""B.c"', "Ab"):
        created = f"app.{table}"
        application.execute(text(f"CREATE TABLE {created} (id integer PRIMARY KEY, t text)"))
        attach = AttachSourceOp(created, contents={"t": {"modality": "text", "content": "t"}})
        op.invoke(attach)
        application.commit()
        assert list(definition()) == [attach.reverse().name]
        op.invoke(attach.reverse())
        application.commit()


def test_both_are_rendered_into_a_revision() -> None:
    register_operations()
    attach = AttachSourceOp("products", PHOTO, metadata=["price"])
    upgrade = UpgradeOps([attach, DetachSourceOp("old", keep_items=True)])
    assert render_python_code(upgrade).split("\n    ")[1:3] == [
        "op.attach_source('products', contents={'photo': {'modality': 'image', "
        "'content': 'photo_url'}}, metadata=['price'])",
        "op.detach_source('old', keep_items=True)",
    ]
    assert UpgradeOps([attach]).as_diffs() == [("attach_source", "products")]
    assert UpgradeOps([attach]).reverse_into(UpgradeOps([])).as_diffs() == [
        ("detach_source", "products")
    ]


def test_the_objects_of_a_migration_go_with_it(
    application: Connection, schema: str, empty_url: str
) -> None:
    listed = sql.SQL(
        "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace "
        "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'app'::regnamespace "
        "UNION ALL SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.\"Pro.ducts\"'::regclass "
        "ORDER BY 1"
    )
    with connect(empty_url) as own:
        before = own.execute(listed).fetchall()
        op = operations_on(application, schema)
        op.attach_source(RELATION, contents=PHOTO, depends_on="shops")
        application.commit()
        assert len(own.execute(listed).fetchall()) > len(before) + 5
        op.detach_source("Pro.ducts")
        application.commit()
        assert own.execute(listed).fetchall() == before
