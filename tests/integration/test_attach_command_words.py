"""What ``pipeline attach`` and its neighbours say is in words of the command line."""

import json
import re
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.command import Done, pipeline


@pytest.fixture
def products(connection: Connection) -> Connection:
    connection.execute(
        """
        CREATE TABLE products (id bigint PRIMARY KEY, title text, tenant int, photos text[]);
        INSERT INTO products VALUES (1, 'a bike', 1, '{a.jpg}'), (2, 'a boat', 2, NULL);
        CREATE VIEW seen AS SELECT title, id FROM products;
        CREATE TABLE tags (id bigint PRIMARY KEY, tag text)
        """
    )
    return connection


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("seen", "--text", "title"),
         "such as --key title. It has title, id"),
        (("seen", "--text", "title", "--key", "id", "--capture", "row"), "--capture scan"),
        (("nothing", "--text", "title"), 'relation "nothing" does not exist'),
        (("my table", "--text", "title"), "'my table' is not how a table is named: write"),
        (("products", "--text", "title", "--depends-on", "a."), "'a.' is not how a table"),
        (("products", "--text", "count(*)"), "the content text: an aggregate, such as count(*)"),
        (("products", "--each", "t:text=title"),
         "the content t: what is of type text has no elements, which --each asks for"),
        (("products", "--text", "title", "--name", ""), "such as --name products"),
        (("products", "--text", "title", "--on-error", "no"), "--on-error is 'no'"),
        (("hidden", "--text", "title"), "--metadata tenant"),
        (("products", "--text", "(SELECT tag FROM tags AS t WHERE t.id = products.id)",
          "--no-sync"), "--depends-on public.tags has each"),
    ],
)  # fmt: skip
def test_hints_are_options(
    products: Connection, url: str, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    products.execute(
        """
        CREATE TABLE hidden (LIKE products INCLUDING ALL);
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON hidden USING (tenant = 1)
        """
    )
    done = pipeline(tmp_path, "attach", *arguments, DATABASE_URL=url)
    assert said in done.stderr
    assert not re.search(r"=>|\b\w+_source\(|\"each\"", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_is_gone(products: Connection, url: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> Done:
        return pipeline(tmp_path, *arguments, DATABASE_URL=url)

    assert run("attach", "products", "--text", "title").returncode == 0
    products.execute("DROP TABLE products CASCADE")
    for command in (("sync", "products"), ("sync", "products", "--dry-run"), ("sync",)):
        done = run(*command)
        assert done.returncode == 1
        assert "pipeline detach products" in done.stderr
        assert "detach_source" not in done.stderr
    assert run("detach", "products", "--yes").returncode == 0


def test_a_dry_run_has_a_line_for_each_trigger_and_no_number_of_ours(
    products: Connection, url: str, tmp_path: Path
) -> None:
    arguments = ("attach", "products", "--text", "title", "--each", "photos", "--dry-run",
                 "--depends-on", "tags")  # fmt: skip
    for more in ((), ("--capture", "row"), ("--capture", "scan")):
        done = pipeline(tmp_path, *arguments, *more, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        assert "\N{REPLACEMENT CHARACTER}" not in done.stdout
        assert not re.search(r"pipeline.source_\d", done.stdout), done.stdout
        triggers = [line for line in done.stdout.splitlines() if line.startswith("CREATE TRIGGER")]
        assert all(line.endswith(";") for line in triggers)
        assert bool(triggers) == ("scan" not in more)
    shown = json.loads(pipeline(tmp_path, *arguments, "--json", DATABASE_URL=url).stdout)
    assert shown["source_items"] == {"products.photos": 1, "products.title": 2}
    assert len(shown["triggers"]) > len(triggers)
