"""Detaching leaves nothing behind, and takes nothing of others."""

from pathlib import Path

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.attached import attach, problem, source_items, sync
from tests.helpers.databases import as_login, login_url
from tests.helpers.dumps import dump, restore


def test_detaching_leaves_nothing_behind(
    shop: Connection, url: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    def of_the_shop() -> str:
        file = tmp_path / "schema.sql"
        dump(
            server,
            url,
            file,
            "--format=plain",
            "--schema-only",
            "--schema=shop",
            "--restrict-key=x",
        )
        return file.read_text()

    shop.execute("CREATE TABLE shop.tags (tag text)")
    before = of_the_shop()
    for capture in ("statement", "row", "scan"):
        attach(shop, capture=capture, depends_on=["shop.tags"])
        attach(shop, name="again", capture=capture)
        shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
        sync(shop)
        sync(shop, "again")
        assert "pipeline_source_" in of_the_shop()
        assert shop.execute("SELECT detach_source('products', keep_items => true)").fetchone() == (
            1,
        )
        assert source_items(shop)[-1] == ("products.title", "1", "text", "a bike")
        shop.execute("SELECT detach_source('again')")
        assert of_the_shop() == before
        shop.execute("DELETE FROM shop.products")
        shop.execute("DELETE FROM source_items")


def test_a_table_that_is_gone_or_lost_its_view_can_be_detached(shop: Connection) -> None:
    attach(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    shop.execute("ALTER TABLE shop.products DROP COLUMN description CASCADE")
    shop.execute("INSERT INTO shop.products (id, title) VALUES (2, 'a boat')")
    assert problem(shop) is not None
    shop.execute("DROP TABLE shop.products")
    assert problem(shop) == "its table is gone"
    with pytest.raises(psycopg.Error, match="the table of products is gone") as raised:
        sync(shop)
    assert "detach_source('products')" in str(raised.value.diag.message_hint)
    assert shop.execute("SELECT detach_source('products')").fetchone() == (1,)
    assert source_items(shop) == []


def test_items_of_others_are_not_taken(shop: Connection) -> None:
    shop.execute("INSERT INTO source_items (source, source_key, modality, content_ref) "
                 "VALUES ('products.title', '1', 'text', 'a bike')")  # fmt: skip
    with pytest.raises(psycopg.Error, match="somebody else's"):
        attach(shop)
    shop.execute("DELETE FROM source_items")


def test_detaching_drops_nothing_of_others(
    shop: Connection, connection: Connection, url: str
) -> None:
    attach(shop)
    connection.execute("CREATE TABLE sales (id integer); CREATE VIEW revenue AS TABLE sales")
    shop.execute("UPDATE attached_sources SET view = 'revenue', items_view = 'revenue'")
    with as_login(connection, url, "mallory") as mallory:
        connection.execute("CREATE SCHEMA evil AUTHORIZATION mallory")
        for name in ("changed", "touched"):
            mallory.execute(
                f"CREATE FUNCTION evil.pipeline_source_1_{name}() RETURNS trigger LANGUAGE plpgsql "
                "AS $$ BEGIN RETURN NULL; /* public. */ END $$".encode()
            )
        shop.execute("SELECT detach_source('products')")
        assert connection.execute("TABLE revenue").fetchall() == []
        connection.execute("DROP SCHEMA evil CASCADE; DROP VIEW revenue")


def test_a_restored_copy_is_followed_as_well(
    shop: Connection, url: str, server: EmbeddedServer, empty_url: str, tmp_path: Path
) -> None:
    shop.execute("ALTER TABLE shop.products DROP COLUMN views")  # numbers of columns change
    shop.execute("ALTER TABLE shop.products ADD COLUMN other text")
    shop.execute("CREATE TABLE shop.first (id integer PRIMARY KEY, title text)")
    attach(shop, "shop.first", {"title": {"modality": "text", "content": "title"}})
    shop.execute("SELECT detach_source('first')")
    attach(shop, filter="published")
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    sync(shop)
    dump(server, url, tmp_path / "dump")
    restore(server, tmp_path / "dump", empty_url)
    with connect(login_url(empty_url, "shopkeeper")) as copy:
        copy.execute("UPDATE shop.products SET title = 'a red bike'")
        copy.execute("INSERT INTO shop.products (id, title) VALUES (2, 'a boat')")
        assert source_items(copy) == [
            ("products.title", "1", "text", "a red bike"),
            ("products.title", "2", "text", "a boat"),
        ]
        assert problem(copy) is None
        assert sync(copy) == (0, 0, 0)
        assert copy.execute("SELECT detach_source('products')").fetchone() == (2,)
    with connect(empty_url) as admin:
        admin.execute("DROP OWNED BY shopkeeper CASCADE")
