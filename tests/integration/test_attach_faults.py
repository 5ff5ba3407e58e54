"""A fault of ours fails no write of theirs."""

import psycopg
import pytest

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, connect
from tests.helpers.attached import attach, problem, source_items, sync
from tests.helpers.databases import login_url, role


def test_a_fault_of_ours_does_not_fail_their_write(shop: Connection) -> None:
    shop.execute("CREATE FUNCTION shop.told(text) RETURNS text STABLE AS 'SELECT $1' LANGUAGE sql")
    attach(shop, contents={"title": {"modality": "text", "content": "shop.told(title)"}})
    sync(shop)
    shop.execute(
        "CREATE OR REPLACE FUNCTION shop.told(text) RETURNS text LANGUAGE plpgsql AS "
        "'BEGIN RETURN nothing.told($1); END'"
    )
    said: list[str] = []
    shop.add_notice_handler(lambda n: said.append(f"{n.severity} {n.message_primary}"))
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a'), (2, 'b')")
    missing = 'schema "nothing" does not exist'
    assert said == [f"WARNING the items of products do not follow: {missing}"]
    assert source_items(shop) == []
    assert problem(shop) == missing
    with pytest.raises(psycopg.Error, match=missing):
        sync(shop)
    shop.execute(
        "CREATE OR REPLACE FUNCTION shop.told(text) RETURNS text LANGUAGE sql AS 'SELECT $1'"
    )
    assert sync(shop) == (2, 0, 0)
    assert problem(shop) is None


def test_who_wants_to_know_has_the_statement_fail(shop: Connection) -> None:
    attach(
        shop,
        contents={"title": {"modality": "text", "content": "(100 / views)::text"}},
        on_error="raise",
    )
    with pytest.raises(psycopg.DataError, match="division by zero"):
        shop.execute("INSERT INTO shop.products (id, views) VALUES (1, 0)")
    assert shop.execute("SELECT count(*) FROM shop.products").fetchone() == (0,)


def test_the_same_fault_after_a_sync_is_noted_again(shop: Connection) -> None:
    attach(shop, contents={"title": {"modality": "text", "content": "(100 / views)::text"}})
    with shop.transaction():
        shop.execute("INSERT INTO shop.products (id, views) VALUES (1, 0)")
        shop.execute("DELETE FROM shop.products")
        sync(shop)
        shop.execute("INSERT INTO shop.products (id, views) VALUES (1, 0)")
    assert "division by zero" in str(problem(shop))


def test_a_write_does_not_fail_where_its_owner_lost_the_right(
    shop: Connection, connection: Connection
) -> None:
    attach(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    for lost, given in (
        ("REVOKE pipeline_ingest FROM shopkeeper", "GRANT pipeline_ingest TO shopkeeper"),
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC, pipeline_ingest",
         "GRANT USAGE ON SCHEMA public TO PUBLIC, pipeline_ingest"),
    ):  # fmt: skip
        connection.execute(lost.encode())
        for statement in (
            "INSERT INTO shop.products (id, title) VALUES (2, 'a boat')",
            "UPDATE shop.products SET title = title || '!'",
            "DELETE FROM shop.products WHERE id = 2",
            "TRUNCATE shop.products",
            "INSERT INTO shop.products (id, title) VALUES (1, 'a bike')",
        ):
            shop.execute(statement.encode())
        connection.execute(given.encode())
        sync(shop)
        assert source_items(shop) == [("products.title", "1", "text", "a bike")]


def test_a_write_of_what_it_depends_on_does_not_fail_either(
    shop: Connection, connection: Connection
) -> None:
    shop.execute("CREATE TABLE shop.tags (tag text)")
    attach(shop, depends_on=["shop.tags"])
    for lost, given in (
        ("REVOKE pipeline_ingest FROM shopkeeper", "GRANT pipeline_ingest TO shopkeeper"),
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC, pipeline_ingest",
         "GRANT USAGE ON SCHEMA public TO PUBLIC, pipeline_ingest"),
    ):  # fmt: skip
        connection.execute(lost.encode())
        for statement in ("INSERT INTO shop.tags VALUES ('a')", "TRUNCATE shop.tags"):
            shop.execute(statement.encode())
        connection.execute(given.encode())


def test_logins_that_may_not_change_settings(
    shop: Connection, connection: Connection, url: str
) -> None:
    """Some take set_config() from everybody: applications write all the same, and are followed."""
    function = "FUNCTION pg_catalog.set_config(text, text, boolean)"
    connection.execute(f"REVOKE EXECUTE ON {function} FROM PUBLIC".encode())
    with pytest.raises(DatabaseError, match="permission denied for function set_config") as raised:
        connect(login_url(url, "shopkeeper"))
    assert f"GRANT EXECUTE ON {function} TO the role" in str(raised.value)
    attach(shop)
    with role(connection, "clerk", "LOGIN"):
        connection.execute("GRANT USAGE ON SCHEMA shop TO clerk")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO clerk")
        with psycopg.connect(login_url(url, "clerk"), autocommit=True) as clerk:
            clerk.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike'), (2, 'x')")
            clerk.execute("UPDATE shop.products SET title = 'a boat' WHERE id = 1")
            clerk.execute("UPDATE shop.products SET views = 7")
            clerk.execute("DELETE FROM shop.products WHERE id = 2")
        assert source_items(shop) == [("products.title", "1", "text", "a boat")]
        assert sync(shop) == (0, 0, 0)
        connection.execute("DROP OWNED BY clerk")
