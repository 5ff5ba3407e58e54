"""A table that is followed by logical decoding: nothing of ours runs where it is written."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.logical import Followed, follow
from tests.helpers.attached import attach, problem, source_items
from tests.helpers.databases import database_url, role
from tests.helpers.other_server import own_server

TITLE = {"title": {"modality": "text", "content": "title"}}


@pytest.fixture(scope="module")
def logical_url() -> Iterator[str]:
    with own_server() as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET wal_level = logical")
        server.stop()
        server.start()
        yield server.url()


@pytest.fixture
def connection(logical_url: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    name = f"t{abs(hash(request.node.name))}"
    with connect(logical_url, schema=None) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        migrate.upgrade(database_url(logical_url, name))
        with connect(database_url(logical_url, name)) as own:
            yield own
            own.execute("SELECT detach_source(name) FROM attached_sources")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_what_its_slot_says_is_synced(connection: Connection) -> None:
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text, big text)")
    connection.execute("INSERT INTO products VALUES (1, 'a bike')")
    attach(connection, "products", TITLE, capture="logical")
    assert follow(connection, "products") == Followed(added=1, keys=None)
    assert problem(connection) is None
    assert follow(connection, "products") == Followed()
    connection.execute("INSERT INTO products SELECT n, 'no ' || n FROM generate_series(2, 4) AS n")
    with connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM products")
    assert source_items(connection) == [("products.title", "1", "text", "a bike")]
    assert follow(connection, "products") == Followed(added=3, keys=3)
    connection.execute("UPDATE products SET title = 'red' WHERE id = 2")
    connection.execute("UPDATE products SET id = 9 WHERE id = 3")
    connection.execute("DELETE FROM products WHERE id = 4")
    assert follow(connection, "products") == Followed(added=1, changed=1, removed=2, keys=4)
    assert [row[1:] for row in source_items(connection)] == [
        ("1", "text", "a bike"),
        ("2", "text", "red"),
        ("9", "text", "no 3"),
    ]
    connection.execute("TRUNCATE products")
    assert follow(connection, "products") == Followed(removed=3, keys=None)
    assert follow(connection, "products") == Followed()


def test_a_key_of_several_columns_and_renames(connection: Connection) -> None:
    connection.execute(
        'CREATE TABLE things (at timestamptz, "N\'o" numeric, title text, PRIMARY KEY ("N\'o", at))'
    )
    attach(connection, "things", TITLE, capture="logical")
    follow(connection, "things")
    connection.execute("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'")
    connection.execute("INSERT INTO things VALUES ('2026-01-01 00:00+00', 1.50, 'a bike')")
    assert follow(connection, "things") == Followed(added=1, keys=1)
    assert source_items(connection) == [
        ("things.title", '[1.50, "2026-01-01T00:00:00+00:00"]', "text", "a bike")
    ]
    connection.execute("UPDATE things SET title = 'red'")
    connection.execute("ALTER TABLE things RENAME COLUMN at TO since")
    assert follow(connection, "things") == Followed(changed=1, keys=None)
    connection.execute("DELETE FROM things")
    assert follow(connection, "things") == Followed(removed=1, keys=1)


def test_what_fails_is_said_again_by_the_slot(connection: Connection) -> None:
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
    function = (
        "CREATE OR REPLACE FUNCTION public.told(text) RETURNS text STABLE LANGUAGE plpgsql AS "
        "'BEGIN RETURN {}($1); END'"
    )
    connection.execute(function.format("upper").encode())
    of_title = {"title": {"modality": "text", "content": "public.told(title)"}}
    attach(connection, "products", of_title, capture="logical")
    follow(connection, "products")
    connection.execute("INSERT INTO products VALUES (1, 'x'), (2, 'y')")
    connection.execute(function.format("nothing.upper").encode())
    for _ in range(2):
        with pytest.raises(DatabaseError, match='schema "nothing" does not exist'):
            follow(connection, "products")
    connection.execute(function.format("upper").encode())
    assert follow(connection, "products") == Followed(added=2, keys=2)


def test_a_row_that_cannot_be_read_keeps_no_other_from_it(connection: Connection) -> None:
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
    of_title = {"title": {"modality": "text", "content": "(100 / length(title))::text"}}
    attach(connection, "products", of_title, capture="logical")
    follow(connection, "products")
    connection.execute("INSERT INTO products VALUES (1, 'x'), (2, '')")
    assert follow(connection, "products") == Followed(added=1, keys=2)
    assert str(problem(connection)).startswith("a row cannot be read: 2 (title: division by zero")
    connection.execute("UPDATE products SET title = 'xx' WHERE id = 2")
    assert follow(connection, "products") == Followed(added=1, keys=1)


def test_partitions_are_followed_too(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE products (id integer PRIMARY KEY, title text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF products FOR VALUES FROM (0) TO (10)"
    )
    attach(connection, "products", TITLE, capture="logical")
    follow(connection, "products")
    connection.execute("INSERT INTO low VALUES (1, 'low')")
    connection.execute("CREATE TABLE high PARTITION OF products FOR VALUES FROM (10) TO (20)")
    connection.execute("INSERT INTO high VALUES (11, 'high')")
    assert follow(connection, "products") == Followed(added=2, keys=2)
    connection.execute("TRUNCATE low")
    assert follow(connection, "products") == Followed(removed=1, keys=None)


def test_what_cannot_be_followed(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE products (id integer PRIMARY KEY, no integer NOT NULL UNIQUE, title text)"
    )
    with pytest.raises(psycopg.Error, match=r"identity of public\.products is not the key no"):
        attach(connection, "products", TITLE, key=["no"], capture="logical")
    connection.execute(
        "CREATE TABLE late (id integer PRIMARY KEY DEFERRABLE, title text)"  # nor may it be one
    )
    with pytest.raises(psycopg.Error, match=r"identity of public\.late is not the key id"):
        attach(connection, "late", TITLE, capture="logical")
    connection.execute("ALTER TABLE products REPLICA IDENTITY NOTHING")
    with pytest.raises(psycopg.Error, match=r"identity of public\.products is not the key id"):
        attach(connection, "products", TITLE, capture="logical")
    connection.execute("ALTER TABLE products REPLICA IDENTITY FULL")
    attach(connection, "products", TITLE, capture="logical")
    follow(connection, "products")
    connection.execute("INSERT INTO products VALUES (1, 1, 'a bike')")
    connection.execute("UPDATE products SET title = 'red'")
    assert follow(connection, "products") == Followed(added=1, keys=1)
    attach(connection, "products", TITLE, name="other")
    with pytest.raises(ConfigurationError, match="'other' is not followed by logical decoding"):
        follow(connection, "other")
    with pytest.raises(ConfigurationError, match="'nothing' is not followed"):
        follow(connection, "nothing")
    connection.execute("SELECT detach_source('products')")
    left = connection.execute("SELECT count(*) FROM pg_replication_slots")
    assert left.fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)


def test_a_slot_that_is_lost_is_told(connection: Connection, logical_url: str) -> None:
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
    attach(connection, "products", TITLE, capture="logical")
    follow(connection, "products")
    connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    connection.execute("SELECT pg_reload_conf()")
    try:
        for _ in range(3):
            connection.execute(
                "INSERT INTO products SELECT n, repeat('x', 1000) "
                "FROM generate_series(1, 20000) AS n"
            )
            connection.execute("DELETE FROM products")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        with pytest.raises(DatabaseError, match=r"the slot pipeline_source_\d+_\d+ is lost"):
            follow(connection, "products")
    finally:
        connection.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        connection.execute("SELECT pg_reload_conf()")
    connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    connection.execute("INSERT INTO products VALUES (1, 'a bike')")
    assert follow(connection, "products") == Followed(added=1, keys=None)


def test_the_server_must_write_its_log_for_it(url: str) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
        with pytest.raises(psycopg.Error, match="has wal_level replica, and must have logical"):
            attach(connection, "products", TITLE, capture="logical")


def test_an_owner_who_may_not_read_slots_is_refused(connection: Connection) -> None:
    """Who could not drop the slot could not detach."""
    with role(connection, "keeper"):
        connection.execute("GRANT pipeline_ingest TO keeper")
        connection.execute("CREATE SCHEMA kept AUTHORIZATION keeper")
        connection.execute("SET ROLE keeper")
        connection.execute("CREATE TABLE kept.products (id integer PRIMARY KEY, title text)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not read") as raised:
            attach(connection, "kept.products", TITLE, capture="logical")
        assert "ALTER ROLE keeper REPLICATION" in str(raised.value)
        connection.execute("RESET ROLE")
        connection.execute("DROP SCHEMA kept CASCADE")
