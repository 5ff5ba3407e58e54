"""Expressions that never settle, or fail where the triggers have them, are refused at once."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach, problem, shopkeeper, source_items, sync


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    with shopkeeper(connection, url) as own:
        yield own


def text(expression: str) -> dict[str, dict[str, str]]:
    return {"title": {"modality": "text", "content": expression}}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"contents": text("title || random()")}, "random() is VOLATILE"),
        ({"metadata": "jsonb_build_object('at', clock_timestamp())"}, "clock_timestamp() is VOLA"),
        ({"filter": "random() < price"}, "random() is VOLATILE"),
        ({"contents": text("shop.told(title)")}, "shop.told(text) is VOLATILE"),
        ({"contents": text("title OPERATOR(shop.+) title")}, "shop.sum(text,text) is VOLATILE"),
    ],
)
def test_what_may_give_something_else_each_time(
    shop: Connection, given: dict[str, Any], named: str
) -> None:
    shop.execute("CREATE FUNCTION shop.told(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
    shop.execute("CREATE FUNCTION shop.sum(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
    shop.execute("CREATE OPERATOR shop.+ (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.sum)")
    with pytest.raises(psycopg.NotSupportedError) as raised:
        attach(shop, **given)
    assert named in str(raised.value)
    shop.execute("ALTER FUNCTION shop.told(text) STABLE")
    attach(shop, contents=text("shop.told(title)"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"filter": "now() > timestamptz '2020-01-01'"}, "now(), which changes by itself"),
        ({"metadata": "to_jsonb(current_date)"}, "current_date, "),
        ({"contents": text("current_user || title")}, "current_user "),
        ({"contents": text("title || age(timestamp '2020-01-01')")}, "age()"),
    ],
)
def test_what_changes_with_the_time_is_warned_of(
    shop: Connection, given: dict[str, Any], named: str
) -> None:
    said: list[str] = []
    shop.add_notice_handler(lambda n: said.append(n.message_primary or ""))
    attach(shop, **given)
    assert [named in told for told in said] == [True]
    assert "products is made of" in said[0]
    shop.execute("SELECT detach_source('products')")
    said.clear()
    attach(shop, metadata="to_jsonb(timestamptz '2020-01-01')", filter="price IS NULL OR price > 1")
    assert said == []


def test_a_view_that_calls_something_volatile_is_warned_of(shop: Connection) -> None:
    shop.execute(
        "CREATE VIEW shop.luck AS SELECT id, title || random() AS title FROM shop.products"
    )
    said: list[str] = []
    shop.add_notice_handler(lambda n: said.append(n.message_primary or ""))
    attach(shop, "shop.luck", text("title"), key=["id"])
    assert said[-1:] == ["luck is made of random(), which changes by itself"]


OF_LABELS = "SELECT word FROM labels WHERE id = $1"


@pytest.mark.parametrize(
    ("language", "body", "rows"),
    [
        ("sql", OF_LABELS, 0),
        ("sql", OF_LABELS, 3),
        ("sql SECURITY DEFINER", OF_LABELS, 0),
        # Of which the body is not looked at before it runs.
        ("plpgsql", f"BEGIN RETURN ({OF_LABELS}); END", 3),
    ],
)
def test_names_that_are_not_found_in_a_function(
    shop: Connection, language: str, body: str, rows: int
) -> None:
    shop.execute("CREATE TABLE shop.labels (id bigint, word text)")
    shop.execute("INSERT INTO shop.labels SELECT g, 'w' FROM generate_series(1, 3) AS g")
    shop.execute("INSERT INTO shop.products SELECT g FROM generate_series(1, %s) AS g", (rows,))
    shop.execute("SET search_path = shop, public")
    shop.execute(f"CREATE FUNCTION shop.word(bigint) RETURNS text STABLE LANGUAGE {language} "
                 f"AS $f${body}$f$".encode())  # fmt: skip
    with pytest.raises(psycopg.errors.UndefinedTable) as raised:
        attach(shop, contents=text("word(id)"), filter="published")
    assert 'cannot be attached so: relation "labels" does not exist' in str(raised.value)
    assert "SET search_path" in str(raised.value)
    shop.execute("ALTER FUNCTION shop.word(bigint) SET search_path = shop")
    attach(shop, contents=text("word(id)"))
    sync(shop)
    shop.execute("INSERT INTO shop.products VALUES (9)")
    assert len(source_items(shop)) == rows
    assert problem(shop) is None


def test_a_row_that_cannot_be_read_is_no_reason_to_refuse(shop: Connection) -> None:
    shop.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, '2')")
    attach(shop, contents=text("title::int::text"))
    assert sync(shop) == (1, 0, 0)


@pytest.mark.parametrize("column", ["ctid", "xmin", "tableoid"])
def test_what_postgresql_keeps_of_a_row_is_no_content(shop: Connection, column: str) -> None:
    with pytest.raises(psycopg.Error, match="say nothing of the row"):
        attach(shop, contents={"title": {"modality": "text", "content": f"{column}::text"}})


def test_what_is_read_from_the_catalog_is_told(shop: Connection) -> None:
    said: list[str] = []
    shop.add_notice_handler(lambda n: said.append(str(n.message_primary)))
    of_catalog = "(SELECT min(c.relname)::text FROM pg_class AS c)"
    attach(shop, contents={"title": {"modality": "text", "content": of_catalog}})
    assert "products is made of pg_class as well, whose changes are not seen" in said
