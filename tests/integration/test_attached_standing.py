"""What becomes of a table after it was attached, of which no trigger tells, is said."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.doctor.attached import attached
from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.sources.attached_sync import differing
from pipeline.sources.attached_sync import sync as sync_by_batch
from tests.helpers.attached import CONTENTS, attach, problem, shopkeeper, source_items, sync
from tests.helpers.command import pipeline
from tests.helpers.databases import as_login, login_url

TITLE = {"title": CONTENTS["title"]}
NAME = {"title": {"modality": "text", "content": "title"}}


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    with shopkeeper(connection, url) as own:
        yield own


def findings(connection: Connection) -> list[tuple[str, str]]:
    return [(check.found, check.fix) for check in attached(connection) if not check.ok]


def test_row_security_that_came_later_is_said(shop: Connection) -> None:
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant integer")
    attach(shop, metadata="{price}")
    sync(shop)
    assert (problem(shop), findings(shop)) == (None, [])
    shop.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY")
    shop.execute("CREATE POLICY own ON shop.products USING (tenant = 1)")
    said = "shop.products has row-level security, which its items do not have"
    assert problem(shop) == said
    assert [(told, "metadata => '{tenant}'" in fix) for told, fix in findings(shop)] == [
        (said, True)
    ]
    assert sync_by_batch(shop, "products").problems == (said,)
    assert problem(shop) == said
    shop.execute("SELECT detach_source('products')")
    attach(shop, metadata="{tenant}")
    sync(shop)
    assert (problem(shop), findings(shop)) == (None, [])


def test_an_owner_who_may_not_write_source_items_any_more_is_said(
    shop: Connection, connection: Connection
) -> None:
    attach(shop)
    sync(shop)
    connection.execute("REVOKE pipeline_ingest FROM shopkeeper")
    assert problem(connection) == "shopkeeper, its owner, may not write source items any more"
    assert len(findings(connection)) == 1
    connection.execute("GRANT pipeline_ingest TO shopkeeper")
    assert (problem(connection), findings(connection)) == (None, [])


@pytest.mark.parametrize("policy", ["shop.is_ours(products)", "products.* IS NOT NULL"])
def test_a_policy_of_the_row_as_a_whole_is_refused(shop: Connection, policy: str) -> None:
    shop.execute("CREATE FUNCTION shop.is_ours(shop.products) RETURNS boolean STABLE LANGUAGE sql "
                 "RETURN $1.price = 1")  # fmt: skip
    shop.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY")
    shop.execute(f"CREATE POLICY own ON shop.products USING ({policy})".encode())
    with pytest.raises(psycopg.NotSupportedError, match="row-level security") as raised:
        attach(shop, metadata="{id}")
    assert "policy own takes the row as a whole" in str(raised.value)


@pytest.mark.parametrize("metadata", [None, "{id}", "{tenant}"])
def test_row_security_beneath_a_view(shop: Connection, metadata: str | None) -> None:
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant integer")
    shop.execute("CREATE VIEW shop.inner AS SELECT * FROM shop.products")
    shop.execute("CREATE VIEW shop.outer AS SELECT * FROM shop.inner")
    shop.execute("CREATE MATERIALIZED VIEW shop.copy AS SELECT * FROM shop.products")
    shop.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY")
    shop.execute("CREATE POLICY own ON shop.products USING (tenant = 1)")
    attach(shop, "shop.copy", NAME, key=["id"])
    if metadata == "{tenant}":
        assert attach(shop, "shop.outer", NAME, key=["id"], metadata=metadata) == "outer"
        return
    with pytest.raises(psycopg.NotSupportedError, match=r"shop\.products has row-level security"):
        attach(shop, "shop.outer", NAME, key=["id"], metadata=metadata)


def test_a_table_of_another_owner(shop: Connection, connection: Connection, url: str) -> None:
    attach(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a'), (2, 'b')")
    sync(shop)
    before = connection.execute("SELECT id FROM source_items ORDER BY 1").fetchall()
    with as_login(connection, url, "newowner", "LOGIN IN ROLE pipeline_ingest") as new:
        connection.execute("GRANT USAGE, CREATE ON SCHEMA shop TO newowner")
        connection.execute("ALTER TABLE shop.products OWNER TO newowner")
        new.execute("INSERT INTO shop.products (id, title) VALUES (3, 'c')")
        connection.execute("DELETE FROM attached_source_problems")
        said = "shop.products belongs to newowner now, and what was made to follow it to shopkeeper"
        assert problem(connection) == said
        ((told, fix),) = findings(connection)
        assert told == said
        as_old, _, rest = fix.partition(": ")
        statements, as_new = rest.split("; then as newowner: ")
        assert as_old == "As shopkeeper or a superuser"
        assert as_new == "pipeline detach products --keep-items, and attach it again"
        connection.execute(statements.encode())
        new.execute("SELECT detach_source('products', keep_items => true)")
        attach(new)
        assert sync(new) == (1, 0, 0)
        assert connection.execute(
            "SELECT id FROM source_items ORDER BY 1 LIMIT 2").fetchall() == before  # fmt: skip
        new.execute("DELETE FROM shop.products WHERE id < 3")
        assert [row[1] for row in source_items(new)] == ["3"]
        assert (problem(new), findings(connection)) == (None, [])
        new.execute("SELECT detach_source('products')")
        connection.execute("ALTER TABLE shop.products OWNER TO shopkeeper")


@pytest.mark.parametrize("by_command", [False, True])
def test_a_new_owner_who_detaches_is_told_what_is_left(
    shop: Connection, connection: Connection, url: str, tmp_path: Path, by_command: bool
) -> None:
    attach(shop)
    with as_login(connection, url, "newowner", "LOGIN IN ROLE pipeline_ingest") as new:
        connection.execute("GRANT USAGE, CREATE ON SCHEMA shop TO newowner")
        connection.execute("ALTER TABLE shop.products OWNER TO newowner")
        said: list[tuple[str, str]] = []
        new.add_notice_handler(
            lambda n: said.append((n.message_primary or "", n.message_hint or ""))
        )
        if by_command:
            login = login_url(url, "newowner")
            done = pipeline(tmp_path, "detach", "products", "--yes", DATABASE_URL=login)
            warned = next(line for line in done.stderr.splitlines() if "belongs to" in line)
            told, _, statements = warned.partition("; ")
            assert "detached: products, which followed shop.products" in done.stderr
            said.append((told, statements))
        else:
            new.execute("SELECT detach_source('products')")
        ((told, statements),) = said
        assert "belongs to shopkeeper" in told
        new.execute("INSERT INTO shop.products (id, title) VALUES (3, 'c')")
        assert len(said) == 1
        shop.execute(statements.encode())
        connection.execute("ALTER TABLE shop.products OWNER TO shopkeeper")
    left = "SELECT relname FROM pg_class WHERE relname ~ '^pipeline_source_[0-9]|products_items'"
    assert connection.execute(left).fetchall() == []
    left = "SELECT proname FROM pg_proc WHERE proname ~ '^pipeline_source_[0-9]'"
    assert connection.execute(left).fetchall() == []


def test_kept_items_are_taken_up_again(shop: Connection) -> None:
    attach(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    before = shop.execute("SELECT id FROM source_items ORDER BY 1").fetchall()
    assert shop.execute("SELECT detach_source('products', true)").fetchone() == (3,)
    shop.execute("DELETE FROM shop.products WHERE id = 3")
    attach(shop)
    assert sync(shop) == (0, 0, 1)
    assert shop.execute("SELECT id FROM source_items ORDER BY 1").fetchall() == before[:2]
    shop.execute("UPDATE shop.products SET title = 'x' WHERE id = 2")
    assert source_items(shop)[1][3] == "x"


@pytest.mark.parametrize("how", ["DROP TABLE shop.y", "ALTER TABLE shop.products DETACH PARTITION "
                                 "shop.y; DROP TABLE shop.y"])  # fmt: skip
def test_a_partition_that_is_dropped_is_said(connection: Connection, url: str, how: str) -> None:
    table = """
        CREATE TABLE shop.products (a text, b int, title text, PRIMARY KEY (a, b))
            PARTITION BY LIST (a);
        CREATE TABLE shop.x PARTITION OF shop.products FOR VALUES IN ('x');
        CREATE TABLE shop.y PARTITION OF shop.products FOR VALUES IN ('y')
    """
    with shopkeeper(connection, url, table) as shop:
        shop.execute("INSERT INTO shop.products VALUES ('x', 1, 'a'), ('y', 1, 'b')")
        attach(shop, contents=NAME)
        sync(shop)
        assert (problem(shop), findings(shop)) == (None, [])
        shop.execute(how.encode())
        said = "shop.y is not a part of it any more"
        for _ in range(2):
            assert (problem(shop), findings(shop)) == (said, [(said, "pipeline sync products")])
            assert differing(shop, "products").rows == 1  # which does not take the sign away
        assert sync(shop) == (0, 0, 1)
        assert (problem(shop), findings(shop)) == (None, [])


def test_a_dry_run_leaves_the_sign_of_a_new_partition(connection: Connection, url: str) -> None:
    table = """
        CREATE TABLE shop.products (a text PRIMARY KEY, title text) PARTITION BY LIST (a);
        CREATE TABLE shop.y (a text PRIMARY KEY, title text)
    """
    with shopkeeper(connection, url, table) as shop:
        attach(shop, contents=NAME)
        sync(shop)
        shop.execute("INSERT INTO shop.y VALUES ('y', 'a')")
        shop.execute("ALTER TABLE shop.products ATTACH PARTITION shop.y FOR VALUES IN ('y')")
        said = problem(shop)
        assert "no trigger sees what is written into shop.y" in str(said)
        assert differing(shop, "products").rows == 1
        assert problem(shop) == said
        assert sync(shop) == (1, 0, 0)


def test_a_child_by_inheritance_that_came_later(shop: Connection) -> None:
    attach(shop)
    sync(shop)
    shop.execute("CREATE TABLE shop.child () INHERITS (shop.products)")
    said = "shop.child inherits from it, and no trigger sees what is written there"
    assert problem(shop) == said
    assert [told for told, _ in findings(shop)] == [said]
    assert sync_by_batch(shop, "products").problems == (said,)


def test_rows_of_a_view_without_a_key_of_their_own_are_counted(shop: Connection) -> None:
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a'), (2, 'a'), (3, 'b')")
    shop.execute("CREATE VIEW shop.titles AS SELECT title AS key, title FROM shop.products "
                 "UNION ALL SELECT NULL, 'c'")  # fmt: skip
    attach(shop, "shop.titles", NAME, key=["key"])
    done = sync_by_batch(shop, "titles")
    assert done.added == 2
    said = ("2 rows of titles have the key of another row as well, and only one of each is "
            "followed; 1 rows of titles have no key, and are not followed")  # fmt: skip
    assert done.problems == (said,)
    assert problem(shop, "titles") == said
    shop.execute("CREATE OR REPLACE VIEW shop.titles AS SELECT id::text AS key, title "
                 "FROM shop.products")  # fmt: skip
    assert sync_by_batch(shop, "titles").problems == ()
    assert problem(shop, "titles") is None


@pytest.mark.parametrize("columns", ["kind", "kind, id"])
def test_a_label_of_a_key_that_is_renamed(shop: Connection, columns: str) -> None:
    shop.execute("CREATE TYPE shop.kind AS ENUM ('old', 'other')")
    shop.execute(f"CREATE TABLE shop.kinds (kind shop.kind, id int DEFAULT 1, title text, "
                 f"PRIMARY KEY ({columns}))".encode())  # fmt: skip
    attach(shop, "shop.kinds", NAME)
    shop.execute("INSERT INTO shop.kinds VALUES ('old', 1, 'a'), ('other', 1, 'b')")
    sync(shop, "kinds")
    shop.execute("ALTER TYPE shop.kind RENAME VALUE 'old' TO 'new'")
    assert sync(shop, "kinds") == (1, 0, 1)
    assert sync(shop, "kinds") == (0, 0, 0)
    assert sorted(row[3] for row in source_items(shop)) == ["a", "b"]
    assert problem(shop, "kinds") is None


DEPENDING = {
    "t": {
        "modality": "text",
        "content": "title || (SELECT string_agg(tag, ' ') FROM shop.tags WHERE product = id)",
    }
}


@pytest.fixture
def tagged(shop: Connection) -> Connection:
    """Products with a tag each, which is a part of their content."""
    shop.execute("CREATE TABLE shop.tags (product integer, tag text)")
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    shop.execute("INSERT INTO shop.tags VALUES (1, 'red')")
    attach(shop, contents=DEPENDING, depends_on=["shop.tags"])
    sync(shop)
    return shop


@pytest.mark.parametrize("change", ["RENAME TO labels", "SET SCHEMA elsewhere"])
def test_a_table_it_depends_on_is_followed_by_any_name(
    tagged: Connection, connection: Connection, change: str
) -> None:
    connection.execute("CREATE SCHEMA elsewhere AUTHORIZATION shopkeeper")
    tagged.execute(f"ALTER TABLE shop.tags {change}".encode())
    assert (problem(tagged), findings(tagged)) == (None, [])
    tagged.execute("INSERT INTO shop.products (id, title) VALUES (2, 'a boat')")
    (table,) = tagged.execute(
        "SELECT relation FROM attached_depends_on(attached_source('products')) AS relation"
    ).fetchone() or (None,)
    tagged.execute(f"INSERT INTO {table} VALUES (2, 'blue')".encode())
    assert str(problem(tagged)).endswith(" changed")
    sync(tagged)
    assert [row[3] for row in source_items(tagged)] == ["a bikered", "a boatblue"]
    tagged.execute("SELECT detach_source('products')")
    left = connection.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pipeline_source_%'"
    ).fetchone()
    assert left == (0,)


def test_a_table_it_depends_on_that_is_dropped_is_said(tagged: Connection) -> None:
    tagged.execute("DROP TABLE shop.tags CASCADE")  # with the view, which reads it
    said = [told for told, _ in findings(tagged)]
    assert any(told.startswith("shop.tags, on which it depends, is gone") for told in said)
    assert any("the view that it is made by is gone" in told for told in said)
    assert "is gone" in str(problem(tagged))
    tagged.execute("INSERT INTO shop.products (id, title) VALUES (2, 'a boat')")
    with pytest.raises(psycopg.Error, match="the view that products is made by is gone"):
        sync(tagged)
    assert tagged.execute("SELECT detach_source('products')").fetchone() == (1,)


def test_a_trigger_that_others_call_so_says_nothing(
    tagged: Connection, connection: Connection, url: str
) -> None:
    """By its name alone it would have the source's owner lock a table of somebody else's."""
    before = source_items(tagged)
    (number,) = tagged.execute("SELECT attached_source('products')").fetchone() or (0,)
    with as_login(connection, url, "mallory", "LOGIN") as mallory:
        connection.execute("CREATE SCHEMA mallory AUTHORIZATION mallory")
        for statement in (
            "CREATE TABLE mallory.t (n integer) PARTITION BY LIST (n)",
            "CREATE TABLE mallory.t_1 PARTITION OF mallory.t FOR VALUES IN (1)",
            f"CREATE FUNCTION mallory.pipeline_source_{number}_touched() RETURNS trigger "
            "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER pipeline_source_{number}_touchedinsert AFTER INSERT ON mallory.t "
            f"EXECUTE FUNCTION mallory.pipeline_source_{number}_touched()",
        ):
            mallory.execute(statement.encode())
        sync(tagged)
        assert (problem(tagged), findings(tagged)) == (None, [])
        assert source_items(tagged) == before
        tagged.execute("DROP TABLE shop.tags CASCADE")
        assert any("on which it depends, is gone" in told for told, _ in findings(tagged))


def test_a_partition_that_became_anothers_holds_no_sync_up(
    shop: Connection, connection: Connection, url: str
) -> None:
    shop.execute("CREATE TABLE shop.tags (product integer, tag text) PARTITION BY LIST (product)")
    attach(shop, contents=DEPENDING, depends_on=["shop.tags"])
    sync(shop)
    with as_login(connection, url, "other", "LOGIN"):
        shop.execute("CREATE TABLE shop.tags_1 PARTITION OF shop.tags FOR VALUES IN (1)")
        connection.execute("ALTER TABLE shop.tags_1 OWNER TO other")
        sync(shop)
        connection.execute("ALTER TABLE shop.tags_1 OWNER TO shopkeeper")


def test_a_view_that_is_dropped_along_with_a_column_is_said(shop: Connection) -> None:
    attach(shop, contents=NAME)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a bike')")
    sync(shop)
    shop.execute("ALTER TABLE shop.products DROP COLUMN title CASCADE")
    assert "is gone, as DROP ... CASCADE takes it along" in str(problem(shop))
    assert all("pipeline detach products --keep-items" in fix for _, fix in findings(shop))
    heard: list[str] = []
    shop.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    shop.execute("INSERT INTO shop.products (id) VALUES (2)")
    assert heard
    assert all("products" in told for told in heard)
    with pytest.raises(DatabaseError, match="the view that products is made by is gone"):
        sync_by_batch(shop, "products")
    assert shop.execute("SELECT detach_source('products')").fetchone() == (1,)


def test_a_key_that_is_none_any_more_is_said(shop: Connection) -> None:
    attach(shop, contents=NAME)
    sync(shop)
    shop.execute("ALTER TABLE shop.products DROP CONSTRAINT products_pkey")
    said = "nothing keeps id apart any more: no unique index is over that alone, or it may be null"
    assert problem(shop) == said
    assert [(told, "ADD PRIMARY KEY (id)" in fix) for told, fix in findings(shop)] == [(said, True)]
    shop.execute("CREATE UNIQUE INDEX ON shop.products (id) INCLUDE (title)")
    assert (problem(shop), findings(shop)) == (None, [])
    shop.execute("ALTER TABLE shop.products ALTER id DROP NOT NULL")
    assert problem(shop) == said
    shop.execute("ALTER TABLE shop.products ADD PRIMARY KEY (id)")
    assert (problem(shop), findings(shop)) == (None, [])


def test_a_partition_of_a_table_it_depends_on_is_seen(shop: Connection) -> None:
    shop.execute("CREATE TABLE shop.tags (product integer, tag text) PARTITION BY LIST (product)")
    shop.execute("CREATE TABLE shop.tags_1 PARTITION OF shop.tags FOR VALUES IN (1)")
    attach(shop, contents=DEPENDING, depends_on=["shop.tags"])
    sync(shop)
    assert (problem(shop), findings(shop)) == (None, [])
    shop.execute("INSERT INTO shop.tags_1 VALUES (1, 'red')")
    assert problem(shop) == "tags_1 changed"
    shop.execute("CREATE TABLE shop.tags_2 PARTITION OF shop.tags FOR VALUES IN (2)")
    sync(shop)
    shop.execute("INSERT INTO shop.tags_2 VALUES (2, 'blue')")
    assert problem(shop) == "tags_2 changed"


def test_a_sync_that_fails_is_said_until_one_does_not(
    shop: Connection, connection: Connection
) -> None:
    connection.execute("CREATE EXTENSION file_fdw")
    connection.execute("CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    connection.execute(
        "CREATE FOREIGN TABLE shop.words (id integer NOT NULL, title text) SERVER files "
        "OPTIONS (program 'echo 1,a', format 'csv')"
    )
    connection.execute("ALTER FOREIGN TABLE shop.words OWNER TO shopkeeper")
    connection.execute("GRANT pg_execute_server_program TO shopkeeper")
    attach(shop, "shop.words", NAME, key="{id}", capture="scan")
    assert sync_by_batch(shop, "words").added == 1
    assert (problem(shop, "words"), findings(shop)) == (None, [])
    connection.execute("ALTER FOREIGN TABLE shop.words OPTIONS (SET program 'exit 3')")
    for _ in range(2):
        with pytest.raises(DatabaseError, match="program"):
            sync_by_batch(shop, "words")
    assert str(problem(shop, "words")).startswith("the last sync failed: ")
    assert len(findings(shop)) == 1
    noted = shop.execute("SELECT count(*) FROM attached_source_problems").fetchone()
    assert noted == (1,)
    connection.execute("ALTER FOREIGN TABLE shop.words OPTIONS (SET program 'echo 1,b')")
    assert sync_by_batch(shop, "words").changed == 1
    assert (problem(shop, "words"), findings(shop)) == (None, [])


@pytest.mark.parametrize("row_key", ["77", "1"])
def test_a_row_key_that_somebody_altered_is_mended(
    shop: Connection, connection: Connection, row_key: str
) -> None:
    """Else the view of the items would have it beside another row."""
    attach(shop, contents={"title": {"modality": "text", "content": "title"}})
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a'), (2, 'b'), (77, NULL)")
    connection.execute("UPDATE source_items SET row_key = %s WHERE source_key = '2'", (row_key,))
    assert sync(shop) == (0, 1, 0)
    found = connection.execute("SELECT source_key, row_key FROM source_items ORDER BY 1").fetchall()
    assert found == [("1", "1"), ("2", "2")]
