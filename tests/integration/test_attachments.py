"""A table is attached from Python: what is made, what it would make, and how it is followed."""

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pipeline
from pipeline import Attachment, attach, detach
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.attached import attached_sources
from pipeline.sources.attached_preview import preview
from pipeline.sources.attached_sync import AttachedReport, sync
from pipeline.sources.attachments import Content
from tests.helpers import catalog

PHOTO = Content("image", "photo_url")
PRODUCTS = Attachment(
    "shop.products",
    {
        "photo": PHOTO,
        "title": {"modality": "text", "content": "concat_ws(' ', title, description)"},
        "more": Content("image", "extra_photos", each=True),
    },
    metadata=("price",),
    filter="published AND title NOT LIKE '%draft%'",
)


@pytest.fixture
def products(connection: Connection) -> Connection:
    connection.execute(
        """
        CREATE SCHEMA shop;
        CREATE TABLE shop.products (
            id bigint PRIMARY KEY, title text, description text, photo_url text,
            extra_photos text[], price numeric, published boolean);
        INSERT INTO shop.products SELECT n, 'title ' || n, 'words', format('/p/%s.jpg', n),
            ARRAY['/e/1.jpg', NULL, '/e/3.jpg'], n, n <> 3 FROM generate_series(1, 5) AS n
        """
    )
    return connection


def everything(connection: Connection) -> list[str]:
    """Of our schema and of the application's."""
    found = catalog.everything(connection)
    connection.execute("SET search_path = shop, public")
    found += catalog.everything(connection)
    connection.execute("SET search_path = public")
    return found


def stored(connection: Connection) -> list[Any]:
    return connection.execute(
        "SELECT source, source_key, content_ref, metadata FROM source_items ORDER BY 1, 2"
    ).fetchall()


def test_attached_and_synced_from_python(products: Connection) -> None:
    assert attach(products, PRODUCTS) == "products"
    told: list[int] = []
    assert sync(products, "products", batch=2, progress=told.append) == AttachedReport(16, 0, 0)
    assert told == [2, 4]
    assert len(stored(products)) == 16
    products.execute("UPDATE shop.products SET price = 7 WHERE id = 1")
    assert ("products.photo", "1", "/p/1.jpg", {"price": 7}) in stored(products)
    assert sync(products, "products") == AttachedReport()
    (source,) = attached_sources(products)
    assert (source.name, source.of, source.source_items, source.needs_sync) == (
        "products", "shop.products", 16, False
    )  # fmt: skip


def test_within_a_transaction_a_sync_is_part_of_it(products: Connection) -> None:
    attach(products, PRODUCTS)
    with products.transaction() as undone:
        assert sync(products, "products").added == 16
        raise psycopg.Rollback(undone)
    assert stored(products) == []


def test_a_preview_says_what_there_will_be_and_makes_nothing(products: Connection) -> None:
    before = everything(products)
    seen = preview(products, PRODUCTS)
    assert everything(products) == before
    assert (seen.name, seen.key, seen.capture) == ("products", ("id",), "statement")
    assert (seen.rows, seen.items_view) == (4, "shop.products_items")
    assert seen.source_items == {"products.photo": 4, "products.title": 4, "products.more": 8}
    assert "published" in seen.view
    assert "shop.products" in seen.view
    assert any("AFTER INSERT ON shop.products" in made for made in seen.triggers)
    assert len(seen.examples) == 5
    assert {example.metadata["price"] for example in seen.examples} <= {1, 2, 4, 5}
    attach(products, PRODUCTS)
    sync(products, "products")
    assert len(stored(products)) == sum(seen.source_items.values())


def test_nobody_waits_while_a_preview_counts(products: Connection, url: str) -> None:
    """The rows are counted once the table is unlocked."""
    products.execute(
        "CREATE FUNCTION shop.slow(text) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_advisory_xact_lock(1); RETURN $1; END $$"
    )
    slow = Attachment("shop.products", {"title": Content("text", "shop.slow(title)")})
    with connect(url) as other, connect(url) as third:
        other.execute("SELECT pg_advisory_lock(1)")
        counting = threading.Thread(target=preview, args=(products, slow))
        counting.start()
        while third.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ).fetchone() != (1,):
            pass
        third.execute("SET lock_timeout = '10s'")
        third.execute("UPDATE shop.products SET title = 'new' WHERE id = 1")
        other.execute("SELECT pg_advisory_unlock(1)")
        counting.join()


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"relation": "shop.nothing"}, DatabaseError, "nothing"),
        ({"contents": {"a": Content("text", "colour")}}, DatabaseError, "colour"),
        ({"contents": {"a": Content("smell", "title")}}, DatabaseError, "smell"),
        ({"contents": {"a": "title"}}, ConfigurationError, r"contents\['a'\]"),
        ({"contents": "title"}, ConfigurationError, "mapping"),
        ({"contents": {}}, ConfigurationError, "at least one"),
        ({"contents": {"a": {"modality": "text"}}}, ConfigurationError, "no column"),
        ({"metadata": ("colour",)}, DatabaseError, "colour"),
        ({"key": ("title",)}, DatabaseError, "unique"),
        ({"filter": "colour"}, DatabaseError, "colour"),
        ({"capture": "magic"}, ConfigurationError, "magic"),
        ({"on_error": "cry"}, ConfigurationError, "cry"),
    ],
)
def test_what_cannot_be_attached_is_an_error_of_ours(
    products: Connection, change: dict[str, Any], kind: type[Exception], says: str
) -> None:
    before = everything(products)
    for act in (attach, preview):
        with pytest.raises(kind, match=says):
            act(products, replace(PRODUCTS, **change))
    assert everything(products) == before


def test_detached_leaves_the_users_table_as_it_was(products: Connection) -> None:
    before = everything(products)
    attach(products, PRODUCTS)
    sync(products, "products")
    assert detach(products, "products") == 16
    assert everything(products) == before
    assert stored(products) == []
    with pytest.raises(ConfigurationError, match="products"):
        detach(products, "products")


def test_kept_items_are_taken_up_again(products: Connection) -> None:
    attach(products, PRODUCTS)
    sync(products, "products")
    kept = stored(products)
    detach(products, "products", keep_items=True)
    assert stored(products) == kept
    again = attach(products, PRODUCTS)
    assert sync(products, again) == AttachedReport()
    assert stored(products) == kept


def test_names_are_those_of_the_callers_search_path(products: Connection, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("SET search_path = shop")
        own.execute(
            "CREATE FUNCTION shop.said(text) RETURNS text STABLE LANGUAGE sql RETURN upper($1)"
        )
        own_words = Attachment("products", {"title": Content("text", "said(title)")})
        assert preview(own, own_words).rows == 5
        assert attach(own, own_words) == "products"
        assert own.execute("SHOW search_path").fetchone() == ("shop",)
        sync(products, "products")
        own.execute("UPDATE products SET title = 'abc' WHERE id = 1")
        assert ("products.title", "1", "ABC", {}) in stored(products)


def test_the_front_door_has_them() -> None:
    assert pipeline.Attachment is Attachment
    assert {"Attachment", "attach", "detach"} <= set(pipeline.__all__)


def test_the_program_of_the_page_runs(
    products: Connection, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    products.execute("ALTER TABLE shop.products SET SCHEMA public")
    page = (Path(__file__).parents[2] / "docs/sources.md").read_text(encoding="utf-8")
    (program,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        if "attach(connection, products)" in block
    )
    exec(compile(program.replace("postgresql:///shop", url), "sources.md", "exec"), {})
    assert "16 added" in capsys.readouterr().out
    assert stored(products) == []
