"""Every refusal says what is wrong, with which part, and what to do, in words of ours."""

import threading
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from tests.helpers.attached import attach, problem, source_items, sync
from tests.helpers.databases import login_url
from tests.helpers.processes import wait_until

TITLE = {"title": {"modality": "text", "content": "title"}}


def said_of(shop: Connection, relation: str = "shop.products", **arguments: Any) -> str:
    """What a refused attach says, with its hint; nothing is left of it."""
    with pytest.raises(psycopg.Error) as raised:
        attach(shop, relation, arguments.pop("contents", TITLE), **arguments)
    assert shop.execute("SELECT count(*) FROM attached_sources").fetchone() == (0,)
    assert raised.value.diag.constraint_name is None
    return f"{raised.value.diag.message_primary}; {raised.value.diag.message_hint}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the name is empty"),
        ("a\tb", "control character"),
        ("a\n", "control character"),
        ("x" * 210, f"the name {'x' * 40}... is of 210 bytes, and may be of 57"),
        ("ü" * 29, "is of 58 bytes, and may be of 57"),
    ],
)
def test_names_that_cannot_be(shop: Connection, name: str, said: str) -> None:
    message = said_of(shop, name=name)
    assert said in message
    assert "name => 'products'" in message


def test_a_long_name_of_a_table_asks_for_another(shop: Connection) -> None:
    table = "t" * 60
    shop.execute(f"CREATE TABLE shop.{table} (id int PRIMARY KEY, title text)".encode())
    assert "is of 60 bytes, and may be of 57" in said_of(shop, f"shop.{table}")
    assert attach(shop, f"shop.{table}", TITLE, name="t" * 57) == "t" * 57


def test_the_view_of_its_items_has_a_name_that_is_taken(shop: Connection) -> None:
    shop.execute("CREATE TABLE shop.products_items (id int)")
    message = said_of(shop)
    assert "shop.products_items is there already" in message
    assert "another name" in message
    assert "57 bytes" not in message
    assert attach(shop, name="goods") == "goods"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("count(*)::text", "an aggregate"),
        ("row_number() OVER ()", "a window function"),
        ("unnest(extra)", "gives several rows"),
    ],
)
def test_what_is_not_of_one_row(shop: Connection, content: str, said: str) -> None:
    for arguments in (
        {"contents": {"title": {"modality": "text", "content": content}}},
        {"metadata": f"jsonb_build_object('a', {content})"},
    ):
        message = said_of(shop, **arguments)
        assert said in message
        assert "WHERE" not in message
    assert said in said_of(shop, filter=f"({content}) IS NOT NULL")


@pytest.mark.parametrize("column", ["title text", "a text[]", "j jsonb"])
def test_each_of_what_has_no_elements(shop: Connection, column: str) -> None:
    name, kind = column.split()
    shop.execute(f"CREATE TABLE shop.t (id int PRIMARY KEY, {column})".encode())
    each = {name: {"modality": "text", "content": name, "each": True}}
    if kind != "text":
        assert attach(shop, "shop.t", each) == "t"
        return
    message = said_of(shop, "shop.t", contents=each)
    assert "the content title: what is of type text has no elements" in message
    assert "elements_of" not in message


def test_each_of_json(shop: Connection) -> None:
    shop.execute("CREATE TABLE shop.t (id int PRIMARY KEY, j json)")
    attach(shop, "shop.t", {"a": {"modality": "text", "content": "j", "each": True}})
    shop.execute("""INSERT INTO shop.t VALUES (1, '["a", null, "", 3]'), (2, 'null'), (3, NULL)""")
    assert [row[1::2] for row in source_items(shop)] == [("1#1", "a"), ("1#4", "3")]
    shop.execute("""UPDATE shop.t SET j = '["b"]' WHERE id = 1""")
    assert [row[1::2] for row in source_items(shop)] == [("1#1", "b")]
    assert sync(shop, "t") == (0, 0, 0)


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.parametrize("capture", ["statement", "scan"])
def test_strings_of_json_come_without_their_quotes_and_its_null_is_none(
    shop: Connection, kind: str, capture: str
) -> None:
    shop.execute(f"CREATE TABLE shop.t (id int PRIMARY KEY, j {kind}, a {kind}[])".encode())
    one, each = {"modality": "text", "content": "j"}, {"modality": "text", "content": "a"}
    attach(shop, "shop.t", {"j": one, "a": {**each, "each": True}}, capture=capture)
    shop.execute(
        rf"""
        INSERT INTO shop.t VALUES
            (1, '"a \"b\""', ARRAY['"c"', 'null', '2', NULL, '""']::{kind}[]),
            (2, 'null', NULL), (3, '""', NULL), (4, '{{"b": 1}}', NULL), (5, '3', NULL)
        """.encode()
    )
    sync(shop, "t")
    assert [row[1::2] for row in source_items(shop)] == [
        ("1#1", "c"), ("1#3", "2"), ("1", 'a "b"'), ("4", '{"b": 1}'), ("5", "3"),
    ]  # fmt: skip
    assert sync(shop, "t") == (0, 0, 0)


@pytest.mark.parametrize("depends_on", [None, [None], []])
def test_it_depends_on_nothing(shop: Connection, depends_on: Any) -> None:
    assert attach(shop, depends_on=depends_on) == "products"
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    assert sync(shop) == (0, 0, 0)


def test_keys_that_are_called_as_what_the_view_of_items_shows(shop: Connection) -> None:
    shop.execute(
        "CREATE TABLE shop.t (content int, row_content int, row_row_content int, row_key int, "
        "title text, PRIMARY KEY (content, row_content, row_row_content, row_key))"
    )
    attach(shop, "shop.t", TITLE)
    shop.execute("INSERT INTO shop.t VALUES (1, 2, 3, 4, 'a bike')")
    assert source_items(shop) == [("t.title", "[1, 2, 3, 4]", "text", "a bike")]
    columns = shop.execute(
        "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 'shop.t_items'::regclass AND attnum < 6"
    ).fetchone()
    assert columns == (
        ["row_row_row_content", "row_content", "row_row_content", "row_row_key", "row_key"],
    )


def test_two_at_once_by_one_name(shop: Connection, connection: Connection, url: str) -> None:
    shop.execute("CREATE VIEW shop.seen AS SELECT * FROM shop.products")
    said: list[str] = []

    def again() -> None:
        with connect(login_url(url, "shopkeeper")) as other, pytest.raises(psycopg.Error) as raised:
            attach(other, "shop.seen", TITLE, key=["id"], name="products")
        said.append(f"{raised.value.diag.message_primary}; {raised.value.diag.message_hint}")

    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with shop.transaction():
        attach(shop)
        thread = threading.Thread(target=again)
        thread.start()
        wait_until(lambda: connection.execute(waits).fetchone() != (0,), "the other waits")
    thread.join()
    assert said == ["products is attached already; Give another name, or detach that one first."]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("", "its metadata is empty; Leave it out"),
        (" ", "its metadata is empty; Leave it out"),
        ("{", "its metadata is '{', which names no columns"),
        ("{NULL}", "its metadata is '{NULL}', which names no columns"),
        ("{{a,b}}", "its metadata is '{{a,b}}', which names no columns"),
        ("title", "its metadata: of type text, and must be jsonb"),
        ("price", "its metadata: of type numeric, and must be jsonb"),
        ("extra", "its metadata: of type text[], and must be jsonb"),
        ("to_jsonb(title)", "is a string, and must be an object"),
        ("to_json(extra)", "is an array, and must be an object"),
        ("'[1]'::jsonb", "is an array, and must be an object"),
        ("to_jsonb(1)", "is a number, and must be an object"),
    ],
)
def test_metadata_that_cannot_be(shop: Connection, metadata: str, said: str) -> None:
    shop.execute(
        "INSERT INTO shop.products (id, title, price, extra) VALUES (7, 'a bike', 5, '{a}')"
    )
    message = said_of(shop, metadata=metadata)
    assert said in message
    assert "metadata => '{" in message or "Leave it out" in message
    if "object" in said:
        assert "metadata of the row 7 of products" in message


@pytest.mark.parametrize(
    "metadata",
    [None, "{}", "{price}", "NULL::jsonb", "'null'::jsonb", "row_to_json(products)",
     "jsonb_build_object('a', 1)", "CASE WHEN price > 0 THEN to_jsonb(products) END"],
)  # fmt: skip
def test_metadata_that_can_be(shop: Connection, metadata: str | None) -> None:
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    attach(shop, contents=TITLE, metadata=metadata)
    shop.execute("UPDATE shop.products SET views = 1")
    assert sync(shop) in {(1, 0, 0), (0, 0, 0)}
    assert problem(shop) is None
    found = shop.execute("SELECT jsonb_typeof(metadata) FROM source_items").fetchall()
    assert found == [("object",)]


def test_a_row_whose_metadata_is_none_is_named(shop: Connection) -> None:
    attach(shop, contents=TITLE, metadata="CASE WHEN price > 0 THEN to_jsonb(products) "
                                          "ELSE to_jsonb(extra) END")  # fmt: skip
    sync(shop)
    said: list[str] = []
    shop.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    shop.execute("INSERT INTO shop.products (id, title, extra) VALUES (7, 'a bike', '{a}')")
    what = "the metadata of the row 7 of products is an array, and must be an object"
    assert len(said) == 1
    assert said[0].startswith("row 7 of products cannot be read: metadata: ")
    assert str(problem(shop)).startswith("a row cannot be read: 7 (metadata: ")
    assert sync(shop) == (0, 0, 0)
    assert what in "".join(said[1:])  # to whom the row may be told
    assert source_items(shop) == []
    shop.execute("UPDATE shop.products SET price = 1")
    assert sync(shop) in {(1, 0, 0), (0, 0, 0)}
    assert problem(shop) is None
    assert [row[1] for row in source_items(shop)] == ["7"]


@pytest.mark.parametrize(
    ("depends_on", "said"),
    [
        ("shop.v", "cannot depend on shop.v, which does not say what changes in it"),
        ("shop.kept", "cannot depend on shop.kept, which does not say what changes in it"),
        ("shop.numbers", "cannot depend on shop.numbers, which does not say what changes in it"),
        ("pg_class", "cannot depend on pg_class, which does not say what changes in it"),
        ("other", "only postgres may make it depend on public.other, and you are shopkeeper"),
    ],
)
def test_what_it_cannot_depend_on(
    shop: Connection, connection: Connection, depends_on: str, said: str
) -> None:
    shop.execute(
        "CREATE VIEW shop.v AS SELECT 1 AS a; CREATE MATERIALIZED VIEW shop.kept AS SELECT 1 AS a; "
        "CREATE SEQUENCE shop.numbers"
    )
    connection.execute("CREATE TABLE other (a int); GRANT ALL ON other TO shopkeeper")
    message = said_of(shop, depends_on=[depends_on])
    assert said in message
    assert "capture => 'scan'" in message
    assert attach(shop, contents=TITLE, depends_on=[depends_on], capture="scan") == "products"


def test_what_it_depends_on_twice(shop: Connection) -> None:
    shop.execute("CREATE TABLE shop.tags (a int)")
    attach(shop, contents=TITLE, depends_on=["shop.tags", "shop.tags"])
    sync(shop)
    shop.execute("INSERT INTO shop.tags VALUES (1)")
    assert problem(shop) == "tags changed"


def test_a_filter_that_is_none(shop: Connection) -> None:
    for empty in ("", " "):
        assert "its filter is empty; Leave it out" in said_of(shop, filter=empty)
    assert "its filter: argument of WHERE must be type boolean" in said_of(shop, filter="title")
