"""Columns, keys and whole rows of an attached table, of any type."""

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach, problem, source_items, sync


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("(a text, b timestamptz, PRIMARY KEY (a, b))", None, '["x", "2026-01-01T00:00:00+00:00"]'),
        ("(a text NOT NULL UNIQUE, b timestamptz)", None, "x"),
        ("(a text NOT NULL UNIQUE, b timestamptz PRIMARY KEY)", ["a"], "x"),
        ("(a text, b timestamptz PRIMARY KEY)", None, "2026-01-01 00:00:00+00"),
        ('("B" integer DEFAULT 3 PRIMARY KEY, a text, b timestamptz)', None, "3"),
        ("(a varchar(5) PRIMARY KEY, b timestamptz)", None, "x"),
    ],
)
def test_the_key_is_the_primary_one_or_that_of_a_unique_index(
    shop: Connection, table: str, key: list[str] | None, expected: str
) -> None:
    shop.execute(f"CREATE TABLE shop.things {table}".encode())
    attach(shop, "shop.things", {"a": {"modality": "text", "content": "a"}}, key=key)
    shop.execute("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'")
    shop.execute("INSERT INTO shop.things (a, b) VALUES ('x', '2026-01-01 00:00+00')")
    assert source_items(shop) == [("things.a", expected, "text", "x")]
    shop.execute("DELETE FROM shop.things")
    assert source_items(shop) == []


def test_types_without_an_operator_of_equality(shop: Connection) -> None:
    shop.execute(
        "CREATE TABLE shop.odd (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), t text, j json, "
        "p point, b bytea)"
    )
    attach(
        shop,
        "shop.odd",
        {"t": {"modality": "text", "content": "t"}},
        metadata="jsonb_build_object('j', j, 'p', p::text)",
        filter="b IS NOT NULL",
    )
    shop.execute("INSERT INTO shop.odd (t, j, p, b) VALUES ('t', '{}', '(1,2)', 'b')")
    shop.execute("UPDATE shop.odd SET j = '[]'")
    shop.execute("UPDATE shop.odd SET p = '(1,3)'")
    assert shop.execute("SELECT metadata FROM source_items").fetchall() == [
        ({"j": [], "p": "(1,3)"},)
    ]


def test_columns_are_renamed_and_dropped(shop: Connection, connection: Connection) -> None:
    connection.execute("CREATE SCHEMA elsewhere AUTHORIZATION shopkeeper")
    attach(shop, filter="published")
    for old, new in (("id", "number"), ("title", "Na me"), ("published", "public")):
        shop.execute(f'ALTER TABLE shop.products RENAME COLUMN "{old}" TO "{new}"'.encode())
    shop.execute("INSERT INTO shop.products (number, \"Na me\") VALUES (1, 'a bike')")
    shop.execute("UPDATE shop.products SET description = 'red'")
    shop.execute("UPDATE shop.products SET number = 2")
    assert source_items(shop) == [("products.title", "2", "text", "a bike red")]
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="other objects") as raised:
        shop.execute("ALTER TABLE shop.products DROP COLUMN description")
    assert "view shop.pipeline_source_" in str(raised.value)
    shop.execute("ALTER TABLE shop.products DROP COLUMN views")  # which is not ours
    shop.execute("ALTER TABLE shop.products RENAME TO articles")
    shop.execute("ALTER TABLE shop.articles SET SCHEMA elsewhere")
    shop.execute("UPDATE elsewhere.articles SET description = NULL")
    assert source_items(shop) == [("products.title", "2", "text", "a bike")]
    assert sync(shop) == (0, 0, 0)
    shop.execute("SELECT detach_source('products')")
    assert source_items(shop) == []


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_columns_whose_names_are_exchanged(shop: Connection, capture: str) -> None:
    """What was planned with their names before is not taken for right."""
    attach(shop, capture=capture, filter="published")
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    for one, other in (("title", "photo"), ("id", "views")):
        shop.execute(f"ALTER TABLE shop.products RENAME {one} TO between".encode())
        shop.execute(f"ALTER TABLE shop.products RENAME {other} TO {one}".encode())
        shop.execute(f"ALTER TABLE shop.products RENAME between TO {other}".encode())
    for _ in range(2):  # before and after a sync, which plans anew
        shop.execute(
            "UPDATE shop.products SET photo = 'a red bike', title = 'b.jpg' WHERE views = 1"
        )
        shop.execute("INSERT INTO shop.products (views, photo, id) VALUES (2, 'a boat', 1)")
        assert source_items(shop) == [
            ("products.photo", "1", "image", "b.jpg"),
            ("products.title", "1", "text", "a red bike"),
            ("products.title", "2", "text", "a boat"),
        ]
        shop.execute("DELETE FROM shop.products WHERE views = 2")
        shop.execute("UPDATE shop.products SET title = NULL, photo = 'a bike'")
        assert source_items(shop) == [("products.title", "1", "text", "a bike")]
        assert sync(shop) == (0, 0, 0)
        assert problem(shop) is None


@pytest.mark.parametrize("capture", ["statement", "row"])
@pytest.mark.parametrize(
    "content", ["to_jsonb(products)::text", "products::text", "to_jsonb(products.*)::text"]
)
def test_a_row_as_a_whole(shop: Connection, content: str, capture: str) -> None:
    attach(shop, contents={"all": {"modality": "text", "content": content}}, capture=capture)
    sync(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    shop.execute("UPDATE shop.products SET views = 77")
    assert "77" in source_items(shop)[0][3]
    shop.execute("ALTER TABLE shop.products ADD COLUMN more integer")
    shop.execute("UPDATE shop.products SET more = 88")
    assert "88" in source_items(shop)[0][3]
    assert problem(shop) is None


@pytest.mark.parametrize("capture", ["statement", "row"])
@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_columns_that_are_made_of_others(shop: Connection, kind: str, capture: str) -> None:
    if kind == "VIRTUAL" and shop.info.server_version < 180000:
        pytest.skip("since PostgreSQL 18")
    shop.execute(
        "CREATE TABLE shop.made (id integer PRIMARY KEY, t text, "
        f"loud text GENERATED ALWAYS AS (upper(t)) {kind})".encode()
    )
    loud = {"loud": {"modality": "text", "content": "loud"}}
    attach(shop, "shop.made", loud, capture=capture)
    shop.execute("INSERT INTO shop.made VALUES (1, 'x')")
    shop.execute("UPDATE shop.made SET t = 'y'")
    assert source_items(shop) == [("made.loud", "1", "text", "Y")]
