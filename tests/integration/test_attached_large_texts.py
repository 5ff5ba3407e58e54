"""An UPDATE beside a large text that is searched does not read that text."""

from collections.abc import Iterator

import pytest

from pipeline.postgres.connections import Connection, fetch_one
from tests.helpers.attached import attach, shopkeeper, source_items, sync


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    with shopkeeper(connection, url) as own:
        yield own


def blocks_read(connection: Connection) -> int:
    """Of what is stored outside the rows."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT pg_stat_clear_snapshot()")
    (blocks,) = fetch_one(
        connection.execute(
            "SELECT toast_blks_read + toast_blks_hit FROM pg_statio_user_tables "
            "WHERE relid = 'shop.products'::regclass"
        )
    )
    return int(blocks)


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_what_stays_where_it_is_is_not_read(shop: Connection, capture: str) -> None:
    if shop.info.server_version < 170000:
        pytest.skip("PostgreSQL says from 17 on where a large value is")
    shop.execute("ALTER TABLE shop.products ALTER title SET STORAGE EXTERNAL")
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, repeat('a', 900000))")
    attach(shop, capture=capture)
    sync(shop)
    before = blocks_read(shop)
    shop.execute("UPDATE shop.products SET views = views + 1")
    assert blocks_read(shop) - before < 20
    shop.execute("UPDATE shop.products SET title = repeat('b', 900000)")
    assert source_items(shop)[0][3][:2] == "bb"
    shop.execute("UPDATE shop.products SET title = title || 'c', views = 0")
    assert source_items(shop)[0][3][-2:] == "bc"
    shop.execute("UPDATE shop.products SET title = 'short'")
    assert source_items(shop)[0][3] == "short"
    shop.execute("UPDATE shop.products SET title = NULL, photo = 'p'")
    assert [row[3] for row in source_items(shop)] == ["p"]
