"""Who may attach, detach and sync, and what they gain by it."""

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from tests.helpers.attached import attach, problem, source_items, sync
from tests.helpers.databases import as_login, login_url


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
