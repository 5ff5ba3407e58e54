"""Every refusal says what is wrong, with which part, and what to do, in words of ours."""

import threading
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from tests.helpers.attached import attach, source_items, sync
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
    shop.execute("""INSERT INTO shop.t VALUES (1, '["a", null, "", 3]'), (2, '{}'), (3, NULL)""")
    assert [row[1::2] for row in source_items(shop)] == [("1#1", "a"), ("1#4", "3")]
    shop.execute("""UPDATE shop.t SET j = '["b"]' WHERE id = 1""")
    assert [row[1::2] for row in source_items(shop)] == [("1#1", "b")]
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
