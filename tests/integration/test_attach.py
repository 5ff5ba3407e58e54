"""A table that is attached is followed, within the transactions that change it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach, problem, shopkeeper, source_items, sync
from tests.helpers.databases import as_login, login_url
from tests.helpers.dumps import dump, restore
from tests.helpers.workers import work


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    with shopkeeper(connection, url) as own:
        yield own


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


def test_sync_by_keys_takes_them_however_they_are_written(shop: Connection) -> None:
    shop.execute("INSERT INTO shop.products VALUES (7, 'a bike'), (8, 'a boat')")
    attach(shop)
    found = shop.execute("SELECT * FROM sync_source('products', '{007,+7,9,NULL}')").fetchone()
    assert found == (1, 0, 0)
    assert source_items(shop) == [("products.title", "7", "text", "a bike")]
    with pytest.raises(psycopg.DataError, match="invalid input syntax for type bigint"):
        shop.execute("SELECT * FROM sync_source('products', '{seven}')")


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


def test_items_of_others_are_not_taken(shop: Connection) -> None:
    shop.execute("INSERT INTO source_items (source, source_key, modality, content_ref) "
                 "VALUES ('products.title', '1', 'text', 'a bike')")  # fmt: skip
    with pytest.raises(psycopg.Error, match="somebody else's"):
        attach(shop)
    shop.execute("DELETE FROM source_items")


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


def test_a_table_with_policies_needs_their_columns_in_the_metadata(shop: Connection) -> None:
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant integer")
    shop.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY")
    shop.execute("CREATE POLICY own ON shop.products USING (tenant = 1)")
    for metadata in (None, "{price}", "jsonb_build_object('tenant', tenant)"):
        with pytest.raises(psycopg.Error, match="row-level security") as raised:
            attach(shop, metadata=metadata)
        if metadata != "jsonb_build_object('tenant', tenant)":
            assert "metadata => '{tenant}'" in str(raised.value.diag.message_hint)
    assert attach(shop, metadata="{tenant,price}") == "products"


@pytest.mark.parametrize(
    ("statement", "arguments", "said", "hint"),
    [
        ("CREATE TABLE shop.t (a text)", {}, "shop.t has no key", "ADD COLUMN id bigint"),
        ("CREATE TABLE shop.t (a text UNIQUE)", {}, "has no key", "PRIMARY KEY"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"key": ["b"]}, "has no column 'b'",
         "It has id, a."),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"key": ["a"]}, "NOT NULL over a",
         "ADD UNIQUE"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, b text)", {}, 'column "a" does not exist', ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"name": "products\n"}, "name_plain",
         ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"capture": "magic"},
         "there is no capture 'magic'", "statement, row"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"on_error": "ignore"},
         "must be warn or raise", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"filter": "a ="}, "syntax error", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"metadata": "{nothing}"},
         "nothing does not exist", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text); CREATE VIEW shop.t_items AS SELECT 1",
         {}, "cannot be the name of a view", "another name"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)",
         {"filter": "true); DROP TABLE shop.products; --"}, "syntax error", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_attached(
    shop: Connection, statement: str, arguments: dict[str, Any], said: str, hint: str
) -> None:
    shop.execute(statement.encode())
    with pytest.raises(psycopg.Error, match=said) as raised:
        attach(shop, "shop.t", {"a": {"modality": "text", "content": "a"}}, **arguments)
    assert hint in str(raised.value.diag.message_hint)
    made = shop.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^pipeline_source_'")
    assert made.fetchone() == (0,)
    assert shop.execute("SELECT count(*) FROM attached_sources").fetchone() == (0,)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({}, "must be an object of at least one content"),
        ([], "must be an object"),
        ({"a b": {"modality": "text", "content": "title"}}, "needs a name of letters"),
        ({"a": "title"}, "says no column or expression"),
        ({"a": {"modality": "text", "content": " "}}, "says no column or expression"),
        ({"a": {"modality": "smell", "content": "title"}}, "smell"),
        ({"a": {"content": "title"}}, "modality"),
        ({"a": {"modality": "text", "content": "title", "each": 1}}, "must be true or false"),
        ({"a": {"modality": "text", "content": "title", "cut": 1}}, "'cut', which means nothing"),
        ({"a": {"modality": "text", "content": "title", "each": True}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "unnest(extra)"}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "max(title)"}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "row_number() OVER ()"}}, "cannot be attached so"),
    ],
)
def test_contents_that_are_none(shop: Connection, contents: object, said: str) -> None:
    with pytest.raises(psycopg.Error, match=said):
        shop.execute("SELECT attach_source('shop.products', %s)", (json.dumps(contents),))


def test_only_who_owns_a_table_may_attach_it(
    shop: Connection, connection: Connection, url: str
) -> None:
    with as_login(connection, url, "ana", "LOGIN IN ROLE pipeline_ingest") as ana:
        connection.execute("GRANT USAGE, CREATE ON SCHEMA shop TO ana")
        connection.execute("GRANT ALL ON shop.products TO ana")
        with pytest.raises(psycopg.Error, match=r"only shopkeeper may attach shop\.products"):
            attach(ana)
        with pytest.raises(psycopg.Error, match=r"only shopkeeper may attach shop\.products"):
            attach(connection)  # although a superuser
        attach(shop)
        with pytest.raises(psycopg.Error, match="only shopkeeper may detach products"):
            ana.execute("SELECT detach_source('products')")
        for statement in (
            "UPDATE attached_sources SET sources = '{}'",
            "UPDATE attached_sources SET view = 'pg_class'",
            "DELETE FROM attached_sources",
        ):
            with pytest.raises(psycopg.Error, match=r"only the owner of shop\.products may say"):
                ana.execute(statement.encode())
        shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
        with pytest.raises(psycopg.Error, match="only shopkeeper may sync products"):
            sync(ana)
    connection.execute("REVOKE pipeline_ingest FROM shopkeeper")
    with connect(login_url(url, "shopkeeper")) as poor:
        connection.execute("SELECT detach_source('products')")
        connection.execute("GRANT SELECT ON attached_sources, known_modalities TO shopkeeper")
        with pytest.raises(psycopg.Error, match=r"may not write .*source_items") as raised:
            attach(poor)
        assert "GRANT pipeline_ingest TO shopkeeper" in str(raised.value.diag.message_hint)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM sync_source('products')",
        "CALL backfill_source('products')",
        "SELECT * FROM compare_attached(attached_source('products'))",
        "SELECT * FROM sync_attached(attached_source('products'), '{1}')",
        'SELECT attach_source(\'shop.shown\', \'{"t": {"modality": "text", '
        '"content": "t"}}\', key => \'{id}\')',
    ],
)
def test_what_its_owner_makes_of_its_functions_gains_no_right(
    shop: Connection, connection: Connection, statement: str
) -> None:
    """Whoever syncs does not lend the table's owner what they may."""
    shop.execute(
        "CREATE FUNCTION shop.f(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN $1; END $$"
    )
    shop.execute("CREATE VIEW shop.shown AS SELECT 1 AS id, shop.f('a') AS t")
    attach(shop, contents={"title": {"modality": "text", "content": "shop.f(title)"}})
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    shop.execute("DELETE FROM source_items")
    shop.execute(
        "CREATE OR REPLACE FUNCTION shop.f(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE 'ALTER ROLE shopkeeper SUPERUSER'; RETURN $1; END $$"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only shopkeeper may"):
        connection.execute(statement.encode())
    connection.execute("SELECT * FROM attached_source_status").fetchall()
    connection.execute("SELECT detach_source('products')")
    is_super = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'shopkeeper'")
    assert is_super.fetchone() == (False,)


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


def test_rows_that_are_hidden_from_their_owner_are_not_taken_for_gone(shop: Connection) -> None:
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant integer")
    attach(shop, metadata="{tenant}")
    shop.execute("INSERT INTO shop.products (id, title, tenant) VALUES (1, 'a', 1), (2, 'b', 2)")
    shop.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY")
    shop.execute("CREATE POLICY own ON shop.products USING (tenant = 1)")
    shop.execute("ALTER TABLE shop.products FORCE ROW LEVEL SECURITY")
    with pytest.raises(psycopg.Error, match=r"hides rows of shop\.products from its owner"):
        sync(shop)
    shop.execute("UPDATE shop.products SET title = 'c' WHERE id = 1")
    assert len(source_items(shop)) == 2
    assert "hides rows" in str(problem(shop))
    with pytest.raises(psycopg.Error, match=r"hides rows of shop\.products from its owner"):
        attach(shop, name="again", metadata="{tenant}")
    shop.execute("ALTER TABLE shop.products NO FORCE ROW LEVEL SECURITY")
    assert sync(shop) == (0, 1, 0)


def test_the_same_fault_after_a_sync_is_noted_again(shop: Connection) -> None:
    attach(shop, contents={"title": {"modality": "text", "content": "(100 / views)::text"}})
    with shop.transaction():
        shop.execute("INSERT INTO shop.products (id, views) VALUES (1, 0)")
        shop.execute("DELETE FROM shop.products")
        sync(shop)
        shop.execute("INSERT INTO shop.products (id, views) VALUES (1, 0)")
    assert "division by zero" in str(problem(shop))


def test_our_own_tables_are_not_attached(connection: Connection) -> None:
    for table in ("source_items", "multimodal_items", "attached_objects", "media_roots"):
        with pytest.raises(psycopg.Error, match="is not a table of yours"):
            attach(connection, table)
    connection.execute("CREATE TABLE parent (id integer PRIMARY KEY, title text)")
    connection.execute("CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)")
    for table in ("parent", "child"):
        with pytest.raises(psycopg.Error, match="part of an inheritance tree"):
            attach(connection, table)


def test_rows_are_searched_by_the_best_of_their_contents(
    shop: Connection, connection: Connection, space: Space, settings: Settings
) -> None:
    contents = {
        "title": {"modality": "text", "content": "title"},
        "about": {"modality": "text", "content": "description"},
    }
    attach(shop, contents=contents, metadata="{price}")
    shop.execute(
        "INSERT INTO shop.products (id, title, description, price) VALUES "
        "(1, 'a bike', 'a red bike', 5), (2, 'a boat', 'a bike', 7), (3, 'a cat', NULL, 9)"
    )
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('other', '1', 'text', 'a bike too')"
    )
    work(settings, space)
    (probe,) = connection.execute(
        "SELECT embedding FROM multimodal_items WHERE content_ref = 'a bike' LIMIT 1"
    ).fetchone() or (None,)

    def rows(**more: object) -> list[tuple[Any, ...]]:
        names = "".join(f", {name} => %({name})s" for name in more)
        return connection.execute(
            f"SELECT row_key, content FROM search_rows('products', embedding => %(probe)s{names}) "
            "ORDER BY rank".encode(),
            {"probe": probe, **more},
        ).fetchall()

    found = rows()
    assert sorted(key for key, _ in found) == ["1", "2", "3"]
    assert found[:2] == [("2", "about"), ("1", "title")]  # equal ones as they came
    assert rows(k=1) == [("2", "about")]
    assert rows(k=2) == found[:2]
    assert rows(content=["about"])[0] == ("2", "about")
    assert {content for _, content in rows(content=["about"])} == {"about"}
    assert rows(filter='{"price": 7}') == [("2", "about")]
    for arguments, said in (
        ({"content": ["photo"]}, "products has no content 'photo'"),
        ({"content": [None]}, "products has no content NULL"),
        ({"k": 0}, "k is 0"),
        ({"ranking": "best"}, "there is no ranking"),
    ):
        with pytest.raises(psycopg.Error, match=said):
            rows(**arguments)
    with pytest.raises(psycopg.Error, match="there is no attached source 'nothing'"):
        connection.execute("SELECT * FROM search_rows('nothing', 'x')")
    joined = connection.execute(
        "SELECT p.title, i.content FROM shop.products_items AS i "
        "JOIN shop.products AS p USING (id) ORDER BY i.embedding <=> %s, i.item_id LIMIT 2",
        (probe,),
    ).fetchall()
    assert joined == [("a boat", "about"), ("a bike", "title")]


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


def test_what_is_made_is_its_owners_alone(
    shop: Connection, connection: Connection, url: str
) -> None:
    """Default privileges, as hosted platforms set them, would give it to others."""
    with as_login(connection, url, "anon") as anon:
        shop.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon")
        shop.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon")
        shop.execute("CREATE TABLE shop.tags (tag text)")
        attach(shop, depends_on=["shop.tags"])
        sync(shop)
        functions = shop.execute(
            "SELECT proname, prosecdef, proconfig @> '{\"search_path=pg_catalog, pg_temp\"}', "
            "pg_get_userbyid(proowner), has_function_privilege('anon', oid, 'EXECUTE') "
            "FROM pg_proc WHERE proname ~ '^pipeline_source_' ORDER BY 1"
        ).fetchall()
        assert [(name[-8:], *rest) for name, *rest in functions] == [
            ("_changed", True, True, "shopkeeper", False),
            ("_touched", True, True, "shopkeeper", False),
        ]
        views = "SELECT has_table_privilege('anon', oid, 'SELECT') FROM pg_class WHERE relname ~ %s"
        found = shop.execute(views, ("^(pipeline_source_[0-9]+|products_items)$",)).fetchall()
        assert found == [(False,), (False,)]
        assert anon.info.user == "anon"
