"""What is attached, followed by way of PgBouncer in transaction mode."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from tests.helpers.command import Done, pipeline
from tests.reliability.test_pgbouncer import bouncer, pytestmark, settings

__all__ = ["bouncer", "pytestmark", "settings"]


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Callable[..., Done]:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()

    def run(*arguments: str) -> Done:
        done = pipeline(tmp_path, *arguments, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_a_folder(run: Callable[..., Done], connection: Connection, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8 + number, 8)).save(folder / f"{number}.png")
    assert run("attach", "photos").stdout == "photos: 3 added, 0 changed, 0 removed\n"
    (folder / "1.png").rename(folder / "one.png")
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes() + b" ")
    Image.new("RGB", (90, 8)).save(folder / "new.png")
    assert run("sync", "photos").stdout.startswith("photos: ")
    keys = connection.execute("SELECT row_key FROM source_items ORDER BY row_key").fetchall()
    assert [key for (key,) in keys] == ["0.png", "2.png", "new.png", "one.png"]
    assert "0 added, 0 changed, 0 removed" in run("sync").stdout
    assert run("detach", "photos", "--yes").stdout == "photos: 4 source items removed\n"


def test_a_table(run: Callable[..., Done], connection: Connection) -> None:
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS products (id int PRIMARY KEY, title text, words text[]);
        INSERT INTO products SELECT n, 'title ' || n, ARRAY['a', 'b'] FROM generate_series(1, 50) n
        """
    )
    of_products = ("attach", "products", "--text", "title", "--each", "words:text=words")
    assert "50 rows give 150 source items" in run(*of_products, "--dry-run").stdout
    assert run(*of_products).stdout == "products: 150 added, 0 changed, 0 removed\n"
    connection.execute("UPDATE products SET title = upper(title) WHERE id = 1")
    connection.execute("ALTER TABLE products DISABLE TRIGGER USER")
    connection.execute("DELETE FROM products WHERE id = 2")
    connection.execute("ALTER TABLE products ENABLE TRIGGER USER")
    assert run("sync", "products", "--dry-run").stdout == "products: 1 rows differ\n"
    assert run("sync", "products").stdout == "products: 0 added, 0 changed, 3 removed\n"
    assert "0 added" in run("sync").stdout
    assert run("detach", "products", "--yes").stdout == "products: 147 source items removed\n"
    connection.execute("DROP TABLE products")
