"""Tables, columns and attachments of any name."""

import pytest
from psycopg import sql

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach, problem, source_items


def test_identifiers_of_any_kind(shop: Connection) -> None:
    long = 'Über "all" ' + "x" * 45  # 57 bytes
    table = '"{}"'.format(long.replace('"', '""'))
    shop.execute(
        f'CREATE TABLE shop.{table} (key_1 integer, "row_key" integer, source text, "Se""ct" text, '
        "content text, PRIMARY KEY (key_1, row_key))".encode()
    )
    attach(
        shop,
        f"shop.{table}",
        {"Content": {"modality": "text", "content": "content"}},
        metadata='{source,"Se\\"ct",key_1}',
    )
    shop.execute(f"INSERT INTO shop.{table} VALUES (1, 2, 's', 't', 'c')".encode())
    assert shop.execute("SELECT source, row_key, metadata FROM source_items").fetchall() == [
        (f"{long}.Content", "[1, 2]", {"source": "s", 'Se"ct': "t", "key_1": 1})
    ]
    items = shop.execute(
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s",
        (f"{long}_items",),
    ).fetchall()
    assert [name for (name,) in items][:2] == ["key_1", "row_row_key"]


@pytest.mark.parametrize("name", ["source_items", "ingest_jobs", "s", "r", "c", "a"])
def test_a_table_that_is_called_like_one_of_ours(shop: Connection, name: str) -> None:
    shop.execute(f"CREATE TABLE shop.{name} (id serial PRIMARY KEY, metadata text)".encode())
    attach(
        shop, f"shop.{name}", {"t": {"modality": "text", "content": f"{name}.metadata"}}, name="n"
    )
    shop.execute(f"INSERT INTO shop.{name} (metadata) VALUES ('x')".encode())
    shop.execute("SET search_path = shop")
    assert shop.execute("SELECT * FROM public.sync_source('n')").fetchone() == (0, 0, 0)
    shop.execute("RESET search_path; SET search_path = public")
    assert source_items(shop) == [("n.t", "1", "text", "x")]


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_a_name_that_looks_like_code(shop: Connection, capture: str) -> None:
    name = "($1).q NEW. %s ' $$"
    attach(shop, name=name, capture=capture)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike'), (2, 'a boat')")
    shop.execute("UPDATE shop.products SET title = 'red' WHERE id = 1")
    shop.execute("DELETE FROM shop.products WHERE id = 2")
    assert source_items(shop) == [(f"{name}.title", "1", "text", "red")]
    shop.execute("UPDATE shop.products SET id = 3")
    assert [row[1] for row in source_items(shop)] == ["3"]
    assert problem(shop, name) == "it was not synced yet"


@pytest.mark.parametrize("key", ["margin_%share", "100%", "id'%s", "percent %I"])
def test_a_percent_sign_in_the_name_of_the_key(shop: Connection, key: str) -> None:
    table = sql.Identifier("shop", "T%2")
    shop.execute(
        sql.SQL("CREATE TABLE {} ({} integer PRIMARY KEY, a text)").format(
            table, sql.Identifier(key)
        )
    )
    shop.execute(sql.SQL("INSERT INTO {} VALUES (1, 'x'), (2, 'y')").format(table))
    attach(shop, 'shop."T%2"', {"t": {"modality": "text", "content": "a"}}, name="t")
    assert shop.execute("SELECT added FROM sync_source('t')").fetchone() == (2,)
    shop.execute(sql.SQL("UPDATE {} SET a = 'z' WHERE {} = 1").format(table, sql.Identifier(key)))
    assert [row[3] for row in source_items(shop)] == ["z", "y"]
