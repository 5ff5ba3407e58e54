"""``pipeline attach``, ``sync`` and ``detach``, as people call them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli.contents import columns_of, contents_of, metadata_of
from pipeline.cli.durations import seconds_of
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.attachments import Content
from tests.helpers.catalog import everything
from tests.helpers.command import Done, pipeline
from tests.helpers.databases import login_url, role
from tests.helpers.other_server import own_server
from tests.helpers.processes import wait_until

Run = Callable[..., Done]
OF_PRODUCTS = (
    "public.products", "--image", "photo_url", "--text", "title || ' ' || description",
    "--each", "extra_photos", "--metadata", "price", "--filter", "published",
)  # fmt: skip


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    return lambda *arguments, **environment: pipeline(
        tmp_path, *arguments, **{"DATABASE_URL": url, **environment}
    )


@pytest.fixture
def products(connection: Connection) -> Connection:
    connection.execute(
        """
        CREATE TABLE products (
            id bigint PRIMARY KEY, title text, description text, photo_url text,
            extra_photos text[], price numeric, published boolean);
        INSERT INTO products SELECT n, 'title ' || n, 'words', format('/p/%s.jpg', n),
            ARRAY['/e/1.jpg', NULL, '/e/3.jpg'], n, n <> 3 FROM generate_series(1, 4) AS n
        """
    )
    return connection


def count(connection: Connection, source: str = "products.%") -> int:
    row = connection.execute("SELECT count(*) FROM source_items WHERE source LIKE %s", (source,))
    return int((row.fetchone() or (0,))[0])


def test_a_row_that_cannot_be_read_is_named(run: Run, products: Connection) -> None:
    products.execute("UPDATE products SET title = 'x' WHERE id = 2")
    done = run("attach", "public.products", "--text", "number=substr(title, 7)::int::text")
    assert done.returncode == 1
    assert done.stdout == "products: 3 added, 0 changed, 0 removed\n"
    named = 'row 2 of products cannot be read: number: invalid input syntax for type integer: ""'
    assert f"pipeline: {named}" in done.stderr
    assert "change the row, " in done.stderr
    done = run("sync", "products", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["attached"][0]["problems"] == [named]
    assert "a row cannot be read: 2" in run("doctor").stdout
    products.execute("UPDATE products SET title = 'title 2' WHERE id = 2")
    assert run("sync").returncode == 0
    assert count(products) == 4


def test_a_table_is_attached_followed_and_detached(run: Run, products: Connection) -> None:
    before = everything(products)
    done = run("attach", *OF_PRODUCTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "products: 12 added, 0 changed, 0 removed\n"
    assert done.stderr.splitlines()[-1] == "next: pipeline ingest"
    assert [row for (row,) in products.execute(
        "SELECT DISTINCT source FROM source_items ORDER BY 1")] == [
        "products.extra_photos", "products.photo_url", "products.text"
    ]  # fmt: skip
    products.execute("UPDATE products SET published = true")
    assert count(products) == 16

    (listed,) = json.loads(run("attach", "--list", "--json").stdout)
    assert (listed["name"], listed["of"], listed["source_items"], listed["needs_sync"]) == (
        "products", "products", 16, False
    )  # fmt: skip
    shown = run("attach", "--list").stdout
    assert "products" in shown
    assert "statement" in shown

    products.execute("SET session_replication_role = replica")
    products.execute("DELETE FROM products WHERE id = 1")
    products.execute("SET session_replication_role = origin")
    assert run("sync", "products", "--dry-run").stdout == "products: 1 rows differ\n"
    assert count(products) == 16
    assert run("sync", "products").stdout == "products: 0 added, 0 changed, 4 removed\n"
    assert run("sync", "nothing").returncode == 1

    refused = run("detach", "products")
    assert refused.returncode == 1
    assert "add --yes if that is meant, or --keep-items" in refused.stderr
    assert run("detach", "products", "--yes").stdout == "products: 12 source items removed\n"
    assert everything(products) == before
    assert run("attach", "--list").stdout == ""


def test_a_dry_run_shows_what_would_be_and_makes_nothing(run: Run, products: Connection) -> None:
    before = everything(products)
    done = run("attach", *OF_PRODUCTS, "--dry-run")
    assert done.returncode == 0, done.stderr
    for part in ("key id, capture statement", "CREATE TRIGGER pipeline_source_N_insert",
                 "public.products_items", "3 rows give 12 source items", "nothing was attached",
                 "title 1 words", '{"price": 1}'):  # fmt: skip
        assert part in done.stdout + done.stderr
    assert set(json.loads(run("attach", *OF_PRODUCTS, "--dry-run", "--json").stdout)) == {
        "name", "key", "capture", "view", "items_view", "triggers", "rows", "source_items",
        "examples", "problems", "advice",
    }  # fmt: skip
    assert everything(products) == before


def test_a_dry_run_counts_what_can_be_read_and_names_what_cannot(
    run: Run, products: Connection
) -> None:
    """Of attaching, and later of a sync."""
    before = everything(products)
    products.execute("UPDATE products SET title = 'x' WHERE id = 2")
    number = ("--text", "number=substr(title, 7)::int::text", "--image", "photo_url")
    done = run("attach", "public.products", *number, "--dry-run")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("row 2 of products cannot be read: number: invalid input syntax") == 1
    assert "change the row, or detach and attach" in done.stderr
    assert "3 rows give 6 source items" in done.stdout
    done = run("attach", "products", *number, "--filter", "id < 3", "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert len(said["problems"]) == 1
    assert said["source_items"] == {"products.number": 1, "products.photo_url": 1}
    assert everything(products) == before
    assert run("attach", "public.products", *number, "--no-sync").returncode == 0
    done = run("sync", "products", "--dry-run")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("row 2 of products cannot be read: number: invalid input syntax") == 1


def test_what_is_there_can_be_left_to_a_sync(run: Run, products: Connection) -> None:
    done = run("attach", *OF_PRODUCTS, "--no-sync", "--name", "shop", "--json")
    assert json.loads(done.stdout) == {"name": "shop"}
    assert "next: pipeline sync shop" in done.stderr
    assert count(products, "shop.%") == 0
    said = json.loads(run("sync", "--json").stdout)
    assert said["checked"] == 0
    assert said["attached"] == [{
        "name": "shop", "added": 12, "changed": 0, "removed": 0, "moved": 0, "is_complete": True,
        "refused": [], "problems": [], "differing": None,
    }]  # fmt: skip
    kept = run("detach", "shop", "--keep-items", "--json")
    assert json.loads(kept.stdout) == {"name": "shop", "source_items": 12, "kept": True}
    assert count(products, "shop.%") == 12


def test_one_that_cannot_be_synced_keeps_no_other_from_it(run: Run, products: Connection) -> None:
    products.execute("CREATE TABLE a_gone (id int PRIMARY KEY, title text)")
    for table in ("a_gone", "products"):
        done = run("attach", table, "--text", "title", "--no-sync")
        assert done.returncode == 0, done.stderr
    products.execute("DROP TABLE a_gone CASCADE")
    done = run("sync")
    assert done.returncode == 1
    assert "a_gone" in done.stderr
    assert "products: 4 added" in done.stdout


def test_names_are_the_logins_own(run: Run, products: Connection, url: str) -> None:
    products.execute(
        """
        CREATE SCHEMA app;
        CREATE TABLE app.goods (id int PRIMARY KEY, word text);
        INSERT INTO app.goods VALUES (1, 'one');
        CREATE FUNCTION app.said(text) RETURNS text STABLE LANGUAGE sql RETURN upper($1)
        """
    )
    done = run("attach", "goods", "--text", "said(word)", PGOPTIONS="-c search_path=app")
    assert done.returncode == 0, done.stderr
    row = products.execute("SELECT source, content_ref FROM source_items").fetchone()
    assert row == ("goods.text", "ONE")


def test_a_warning_of_the_database_is_told(run: Run, products: Connection) -> None:
    products.execute("CREATE TABLE words (id bigint PRIMARY KEY, word text)")
    of_both = ("products", "--text", "(SELECT word FROM words w WHERE w.id = products.id)")
    done = run("attach", *of_both, "--no-sync")
    assert "words" in done.stderr
    assert "--depends-on public.words" in done.stderr
    run("detach", "products")
    assert "--depends-on" not in run("attach", *of_both, "--depends-on", "words").stderr


def test_a_watch_follows_what_no_trigger_sees(
    run: Run, products: Connection, url: str, tmp_path: Path
) -> None:
    products.execute("CREATE VIEW seen AS SELECT id, title FROM products")
    assert run("attach", "seen", "--key", "id", "--text", "title").returncode == 0
    watching = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "sync", "--watch", "--every", "1"],
        env={**os.environ, "DATABASE_URL": url},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        products.execute("INSERT INTO products (id, title) VALUES (9, 'nine')")
        wait_until(lambda: count(products, "seen.%") == 5 or watching.poll() is not None, "it")
    finally:
        watching.send_signal(signal.SIGTERM)
        out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "seen: 1 added" in out
    assert "stopping" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("attach",), "TARGET"),
        (("attach", "products"), "--image COLUMN"),
        (("attach", "products", "--image", ""), "--image"),
        (("attach", "products", "--text", "a||b", "--text", "c||d"), "two contents"),
        (("attach", "products", "--text", "title", "--every", "5m"), "--every"),
        (("attach", "products", "--text", "title", "--exclude", "x"), "--exclude"),
        (("attach", "s3://bucket/photos", "--text", "title"), "--text"),
        (("attach", "/photos", "--filter", "x"), "--filter"),
        (("attach", "s3://bucket/photos", "--every", "soon"), "soon"),
        (("attach", "products", "--each", "a:smell=b"), "smell"),
        (("attach", "products", "--metadata", "a,", "--text", "b"), "--metadata"),
        (("sync", "--every", "0s"), "--every"),
        (("sync", "--watch", "--json"), "--watch"),
    ],
)
def test_wrong_usage_names_the_option(tmp_path: Path, arguments: Any, says: str) -> None:
    done = pipeline(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr


@pytest.mark.parametrize(
    ("given", "contents"),
    [
        ({"image": ["photo_url"]}, {"photo_url": Content("image", "photo_url")}),
        ({"image": ["p=photo_url"]}, {"p": Content("image", "photo_url")}),
        ({"image": ["products.photo"]}, {"photo": Content("image", "products.photo")}),
        ({"text": ["a || ' = ' || b"]}, {"text": Content("text", "a || ' = ' || b")}),
        ({"text": ["t=a || b"]}, {"t": Content("text", "a || b")}),
        ({"text": ["a => b"]}, {"text": Content("text", "a => b")}),
        ({"each": ["photos"]}, {"photos": Content("image", "photos", each=True)}),
        ({"each": ["m=photos"]}, {"m": Content("image", "photos", each=True)}),
        ({"each": ["m:text=tags"]}, {"m": Content("text", "tags", each=True)}),
        ({"each": [":text=tags"]}, {"tags": Content("text", "tags", each=True)}),
        ({"each": ["t::text[]"]}, {"image": Content("image", "t::text[]", each=True)}),
    ],
)
def test_contents_as_they_are_written(given: Any, contents: Any) -> None:
    assert contents_of(given) == contents


def test_columns_and_metadata_as_they_are_written() -> None:
    assert columns_of("--key", ["a, b", "c"]) == ("a", "b", "c")
    assert metadata_of(["price,tenant", "x"]) == ("price", "tenant", "x")
    assert metadata_of(["jsonb_build_object('a', b)"]) == "jsonb_build_object('a', b)"
    assert metadata_of(None) is None
    with pytest.raises(typer.BadParameter):
        metadata_of(["a", "to_jsonb(b)"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_times_as_they_are_written(text: str, seconds: int) -> None:
    assert seconds_of("--every", text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "1w", "1e9d", "nan", "400d"])
def test_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds_of("--every", text)


def test_a_table_followed_by_a_slot(tmp_path: Path) -> None:
    with own_server() as server:
        with connect(server.url(), schema=None) as admin:
            admin.execute("ALTER SYSTEM SET wal_level = logical")
        server.stop()
        server.start()
        migrate.upgrade(server.url(), old_pgvector=True)

        def run(*arguments: str) -> str:
            done = pipeline(tmp_path, *arguments, DATABASE_URL=server.url())
            assert done.returncode == 0, done.stderr
            return done.stdout

        with connect(server.url()) as connection:
            connection.execute("CREATE TABLE products (id int PRIMARY KEY, title text)")
            connection.execute("INSERT INTO products VALUES (1, 'one')")
            told = run("attach", "products", "--text", "title", "--capture", "logical")
            assert told == "products: 1 added, 0 changed, 0 removed\n"
            connection.execute("INSERT INTO products VALUES (2, 'two')")
            assert count(connection) == 1
            assert run("sync", "products") == "products: 1 added, 0 changed, 0 removed\n"
            slots = "SELECT count(*) FROM pg_replication_slots"
            assert connection.execute(slots).fetchone() == (1,)
            run("detach", "products", "--yes")
            assert connection.execute(slots).fetchone() == (0,)


def test_a_login_attaches_what_it_owns_and_nothing_else(
    products: Connection, url: str, tmp_path: Path
) -> None:
    with role(products, "shop_owner"):
        products.execute("CREATE SCHEMA own AUTHORIZATION shop_owner")
        products.execute("CREATE TABLE own.goods AS SELECT id, title FROM products")
        products.execute("ALTER TABLE own.goods ADD PRIMARY KEY (id)")
        products.execute("ALTER TABLE own.goods OWNER TO shop_owner")

        def run(*arguments: str) -> Done:
            return pipeline(tmp_path, *arguments, DATABASE_URL=login_url(url, "shop_owner"))

        of_goods = ("attach", "own.goods", "--text", "title")
        lacking = run(*of_goods)
        assert lacking.returncode == 1
        assert "GRANT pipeline_ingest TO shop_owner" in lacking.stderr
        products.execute("GRANT pipeline_ingest TO shop_owner")
        done = run(*of_goods)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "goods: 4 added, 0 changed, 0 removed\n"
        done = run("attach", "public.products", "--text", "title")
        assert done.returncode == 1
        assert "only postgres may attach public.products" in done.stderr
        assert run("attach", "--list").returncode == 0
        assert run("detach", "goods", "--yes").returncode == 0
