"""An attached table is followed, within the transactions that change it."""

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach, problem, source_items, sync


def test_a_table_is_followed_from_the_first_row_to_the_last(shop: Connection) -> None:
    shop.execute(
        "INSERT INTO shop.products VALUES (1, 'a bike', 'red', 's3://b/1.jpg', "
        "'{s3://b/2.jpg,NULL,s3://b/3.jpg}'), (2, 'a draft', NULL, NULL, NULL)"
    )
    shop.execute("UPDATE shop.products SET published = id = 1")
    assert attach(shop, metadata="{price}", filter="published") == "products"
    assert source_items(shop) == []
    assert problem(shop) == "it was not synced yet"
    shop.execute("CALL backfill_source('products')")
    of_bike = [
        ("products.more", "1#1", "image", "s3://b/2.jpg"),
        ("products.more", "1#3", "image", "s3://b/3.jpg"),
        ("products.photo", "1", "image", "s3://b/1.jpg"),
    ]
    assert source_items(shop) == [*of_bike, ("products.title", "1", "text", "a bike red")]
    assert problem(shop) is None

    shop.execute("UPDATE shop.products SET description = NULL WHERE id = 1")
    assert source_items(shop) == [*of_bike, ("products.title", "1", "text", "a bike")]
    shop.execute("UPDATE shop.products SET published = true, id = 3 WHERE id = 2")
    assert source_items(shop)[-1] == ("products.title", "3", "text", "a draft")
    with shop.transaction(force_rollback=True):
        shop.execute("DELETE FROM shop.products")
        assert source_items(shop) == []
    assert len(source_items(shop)) == 5
    shop.execute("TRUNCATE shop.products")
    assert source_items(shop) == []
    assert sync(shop) == (0, 0, 0)


def test_what_does_not_matter_is_not_embedded_again(shop: Connection) -> None:
    attach(shop, metadata="{price}")
    shop.execute("INSERT INTO shop.products VALUES (1, 'a bike', NULL, 'bike.jpg', '{}')")
    before = shop.execute("SELECT id, updated_at FROM source_items ORDER BY id").fetchall()
    shop.execute("UPDATE shop.products SET views = views + 1, title = title")
    shop.execute("UPDATE shop.products SET extra = '{NULL}'")
    assert shop.execute("SELECT id, updated_at FROM source_items ORDER BY id").fetchall() == before


def test_statements_of_few_and_of_many_rows(shop: Connection) -> None:
    attach(shop, filter="published")
    for few in (1, 100, 101, 5000, 3):
        shop.execute(
            "INSERT INTO shop.products (id, title) SELECT n, 'no ' || n "
            "FROM generate_series(1, %s) AS n",
            (few,),
        )
        shop.execute("UPDATE shop.products SET title = title || '!', photo = id")
        found = source_items(shop)
        assert len(found) == 2 * few
        assert {row[3] for row in found if row[0] == "products.title"} == {
            f"no {n}!" for n in range(1, few + 1)
        }
        shop.execute("DELETE FROM shop.products")
        assert source_items(shop) == []
    assert problem(shop) == "it was not synced yet"


def test_sync_by_keys_takes_them_however_they_are_written(shop: Connection) -> None:
    shop.execute("INSERT INTO shop.products VALUES (7, 'a bike'), (8, 'a boat')")
    attach(shop)
    found = shop.execute("SELECT * FROM sync_source('products', '{007,+7,9,NULL}')").fetchone()
    assert found == (1, 0, 0)
    assert source_items(shop) == [("products.title", "7", "text", "a bike")]
    with pytest.raises(psycopg.DataError, match="invalid input syntax for type bigint"):
        shop.execute("SELECT * FROM sync_source('products', '{seven}')")


def test_what_writes_without_triggers_is_seen_where_that_was_asked_for(
    shop: Connection, connection: Connection
) -> None:
    attach(shop, capture="row")
    connection.execute("SET session_replication_role = replica")
    connection.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    connection.execute("RESET session_replication_role")
    assert source_items(shop) == [("products.title", "1", "text", "a bike")]
    # Of the statement itself, or of the rows beneath: jobs come of either.
    assert shop.execute("SELECT count(*) FROM ingest_jobs").fetchone() is not None


def test_what_no_trigger_saw_is_found_by_a_sync(shop: Connection, connection: Connection) -> None:
    attach(shop)
    sync(shop)
    connection.execute("SET session_replication_role = replica")
    connection.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    connection.execute("RESET session_replication_role")
    assert source_items(shop) == []
    assert sync(shop) == (1, 0, 0)
    connection.execute("ALTER TABLE shop.products DISABLE TRIGGER USER")
    assert problem(shop) == "triggers of shop.products are disabled"
    connection.execute("ALTER TABLE shop.products ENABLE TRIGGER USER")
    assert problem(shop) is None
