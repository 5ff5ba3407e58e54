"""The pipeline goes, and the users' tables are as they were before they were attached."""

from pathlib import Path

import pytest

from pipeline import Attachment, attach
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.attached_sync import sync
from pipeline.sources.attachments import Content
from tests.helpers.catalog import everything
from tests.helpers.command import pipeline

GOODS = Attachment("shop.goods", {"word": Content("text", "word")})


def in_schema(connection: Connection, name: str) -> list[str]:
    connection.execute("SELECT set_config('search_path', %s, false)", (name,))
    found = [line for line in everything(connection) if not line.startswith("setting")]
    connection.execute("SET search_path = public")
    return found


@pytest.fixture
def shop(url: str) -> str:
    with connect(url) as connection:
        connection.execute(
            """
            CREATE SCHEMA shop;
            CREATE TABLE shop.goods (id int PRIMARY KEY, word text);
            INSERT INTO shop.goods VALUES (1, 'one');
            CREATE TABLE shop.parts (id int PRIMARY KEY, word text) PARTITION BY RANGE (id);
            CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (0) TO (9)
            """
        )
    return url


def test_base_detaches_all_and_leaves_the_tables_as_they_were(shop: str) -> None:
    with connect(shop) as connection:
        before = in_schema(connection, "shop")
        attach(connection, GOODS)
        attach(connection, Attachment("shop.parts", {"word": Content("text", "word")}))
        sync(connection, "goods")
        assert in_schema(connection, "shop") != before
    migrate.downgrade(shop, "base")
    with connect(shop, schema=None) as connection:
        assert in_schema(connection, "shop") == before
        assert in_schema(connection, "public") == []
        for table in ("goods", "parts"):
            connection.execute(f"INSERT INTO shop.{table} VALUES (2, 'two')".encode())
            connection.execute(f"UPDATE shop.{table} SET word = 'three'".encode())
            connection.execute(f"TRUNCATE shop.{table}".encode())
    migrate.upgrade(shop)


def test_one_step_back_is_refused_and_changes_nothing(shop: str, tmp_path: Path) -> None:
    head = sorted(Path("migrations/versions").glob("pipeline_*.py"))
    with connect(shop) as connection:
        attach(connection, GOODS)
        attached = in_schema(connection, "shop")
    done = pipeline(tmp_path, "migrate", head[-2].stem, "--yes", DATABASE_URL=shop)
    assert done.returncode == 1
    assert "pipeline detach goods --keep-items" in done.stderr
    with connect(shop) as connection:
        assert in_schema(connection, "shop") == attached
        connection.execute("INSERT INTO shop.goods VALUES (2, 'two')")
        assert connection.execute("SELECT source_key FROM source_items").fetchall() == [("2",)]
    done = pipeline(tmp_path, "detach", "goods", "--keep-items", DATABASE_URL=shop)
    assert done.returncode == 0, done.stderr
    assert migrate.downgrade(shop, head[-2].stem).revisions == [head[-1].stem]


def test_what_needs_a_view_of_an_attached_table_stands_in_the_way(shop: str) -> None:
    with connect(shop) as connection:
        attach(connection, GOODS)
        connection.execute("CREATE VIEW shop.mine AS SELECT id, content_ref FROM shop.goods_items")
        before = in_schema(connection, "shop")
    with pytest.raises(DatabaseError, match="goods_items"):
        migrate.downgrade(shop, "base")
    with connect(shop) as connection:
        assert in_schema(connection, "shop") == before
