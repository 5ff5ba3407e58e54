"""Partitions, views, and what an expression reads of other tables."""

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach, problem, shopkeeper, source_items, sync


def test_partitions_come_and_go(connection: Connection, url: str) -> None:
    table = (
        "CREATE TABLE shop.products (id integer, title text, description text, photo text, "
        "extra text[], PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE shop.low PARTITION OF shop.products FOR VALUES FROM (0) TO (10)"
    )
    with shopkeeper(connection, url, table) as shop:
        attach(shop)
        sync(shop)
        shop.execute("INSERT INTO shop.low (id, title) VALUES (1, 'low')")
        shop.execute(
            "CREATE TABLE shop.mid PARTITION OF shop.products FOR VALUES FROM (10) TO (20)"
        )
        shop.execute("CREATE TABLE shop.high (LIKE shop.products INCLUDING ALL)")
        shop.execute("INSERT INTO shop.high (id, title) VALUES (21, 'high')")
        shop.execute(
            "ALTER TABLE shop.products ATTACH PARTITION shop.high FOR VALUES FROM (20) TO (30)"
        )
        assert "no trigger sees what is written into shop." in str(problem(shop))
        shop.execute("INSERT INTO shop.mid (id, title) VALUES (11, 'mid')")
        assert sync(shop) == (2, 0, 0)
        assert problem(shop) is None
        shop.execute("UPDATE shop.high SET title = 'higher'")
        shop.execute("UPDATE shop.mid SET title = 'middle'")
        assert [row[3] for row in source_items(shop)] == ["low", "middle", "higher"] or [
            row[3] for row in source_items(shop)
        ] == ["low", "higher", "middle"]
        shop.execute("ALTER TABLE shop.products DETACH PARTITION shop.high")
        assert problem(shop) == "shop.high is not a part of it any more"
        said: list[str] = []
        shop.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
        shop.execute("INSERT INTO shop.high (id, title) VALUES (22, 'elsewhere')")
        assert said == []
        assert sync(shop) == (0, 0, 1)
        assert problem(shop) is None
        triggers = shop.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'shop.high'::regclass "
            "AND tgname ~ 'pipeline'"
        )
        assert triggers.fetchone() == (0,)
        shop.execute("TRUNCATE shop.low")
        assert [row[3] for row in source_items(shop)] == ["middle"]


def test_views_are_scanned(shop: Connection) -> None:
    shop.execute("CREATE VIEW shop.shown AS SELECT id, upper(title) AS title FROM shop.products")
    shop.execute("CREATE MATERIALIZED VIEW shop.kept AS SELECT * FROM shop.shown")
    title = {"title": {"modality": "text", "content": "title"}}
    with pytest.raises(psycopg.Error, match="nothing says what its key is"):
        attach(shop, "shop.shown", title)
    with pytest.raises(psycopg.Error, match="cannot say what changes in it"):
        attach(shop, "shop.shown", title, key=["id"], capture="row")
    attach(shop, "shop.shown", title, key=["id"])
    attach(shop, "shop.kept", title, key=["id"])
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    assert source_items(shop) == []
    assert sync(shop, "shown") == (1, 0, 0)
    shop.execute("REFRESH MATERIALIZED VIEW shop.kept")
    assert sync(shop, "kept") == (1, 0, 0)
    shop.execute("DELETE FROM shop.products")
    assert sync(shop, "shown") == (0, 0, 1)
    assert source_items(shop) == [("kept.title", "1", "text", "A BIKE")]


def test_an_expression_that_reads_other_tables_depends_on_them(shop: Connection) -> None:
    shop.execute("CREATE TABLE shop.tags (product bigint, tag text)")
    contents = {
        "title": {
            "modality": "text",
            "content": "(SELECT string_agg(tag, ' ') FROM shop.tags WHERE product = products.id)",
        }
    }
    said: list[str] = []
    shop.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    attach(shop, contents=contents, name="other")
    assert said == ["other is made of shop.tags as well, whose changes are not seen"]
    attach(shop, contents=contents, depends_on=["shop.tags"])
    assert len(said) == 1
    shop.execute("INSERT INTO shop.products (id) VALUES (1)")
    sync(shop)
    shop.execute("INSERT INTO shop.tags VALUES (1, 'red')")
    assert problem(shop) == "tags changed"
    assert sync(shop) == (1, 0, 0)
    assert problem(shop) is None
