"""The demonstration's samples as a table of a shop: attached, searched, changed by plain SQL and
followed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.demo.manifest import samples
from pipeline.postgres.connections import Connection, connect
from tests.helpers.command import Demo, Done, pipeline

PIZZA = "a slice of pizza"


@pytest.fixture
def shop(demo: Demo, new_database: Callable[..., str]) -> str:
    """A copy of the demonstration's database with the table ``shop_products`` in it."""
    url = new_database(demo.url.partition("?")[0].rpartition("/")[2])
    with connect(url) as connection:
        connection.execute(
            """
            CREATE TABLE shop_products (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, caption text,
                photo text, price numeric DEFAULT 10, published boolean NOT NULL DEFAULT true)
            """
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO shop_products (name, caption, photo) VALUES (%s, %s, %s)",
                [(sample.name, sample.caption, str(sample.image)) for sample in samples()],
            )
    return url


@pytest.fixture
def run(shop: str, tmp_path: Path) -> Callable[..., Done]:
    def run(*arguments: str) -> Done:
        done = pipeline(tmp_path, *arguments, DATABASE_URL=shop)
        assert done.returncode == 0, done.stderr
        return done

    return run


def nearest(connection: Connection, k: int = 3) -> list[str]:
    """Names of the shop's products, by their photos."""
    rows = connection.execute(
        """
        SELECT p.name FROM search_rows('shop_products', %s, content => '{photo}', k => %s) AS r
        JOIN shop_products AS p ON p.id = r.row_key::bigint ORDER BY r.rank
        """,
        (PIZZA, k),
    )
    return [name for (name,) in rows]


@pytest.mark.timeout(900)
def test_a_table_is_attached_searched_changed_and_followed(
    shop: str, run: Callable[..., Done]
) -> None:
    of_table = (
        "attach", "shop_products", "--image", "photo", "--text", "title=caption",
        "--metadata", "name,price", "--filter", "published",
    )  # fmt: skip
    assert "1297 rows give 2594 source items" in run(*of_table, "--dry-run").stdout
    assert run(*of_table).stdout == "shop_products: 2594 added, 0 changed, 0 removed\n"
    run("ingest")
    run("search", PIZZA, "-k", "1")  # whose vector the database keeps
    with connect(shop) as connection:
        assert nearest(connection)[0] == "pizza"
        best = connection.execute(
            "SELECT id, metadata FROM shop_products_items WHERE content = 'photo' "
            "ORDER BY embedding <=> text_embedding(%s) LIMIT 1",
            (PIZZA,),
        ).fetchone()
        assert best is not None
        number, metadata = best
        assert metadata["price"] == 10

        # What a row says beside its contents is there at once: nothing is to be embedded.
        connection.execute("UPDATE shop_products SET price = 12.5 WHERE id = %s", (number,))
        shown = "SELECT DISTINCT metadata -> 'price' FROM shop_products_items WHERE id = %s"
        assert connection.execute(shown, (number,)).fetchall() == [(12.5,)]

        connection.execute("UPDATE shop_products SET published = false WHERE name = 'pizza'")
        assert "pizza" not in nearest(connection)
        connection.execute("UPDATE shop_products SET published = true WHERE name = 'pizza'")
        connection.execute("DELETE FROM shop_products WHERE name = 'taco'")
        connection.execute(
            "INSERT INTO shop_products (name, photo) "
            "SELECT 'another pizza', photo FROM shop_products WHERE name = 'pizza'"
        )
        connection.execute(
            "UPDATE shop_products SET photo = (SELECT photo FROM shop_products WHERE name = "
            "'pizza') WHERE name = 'guitar'"
        )
        run("ingest")
        assert set(nearest(connection)) == {"pizza", "another pizza", "guitar"}
        assert "taco" not in nearest(connection, 50)
        status = connection.execute(
            "SELECT source_items, pending, failed, needs_sync FROM attached_source_status"
        )
        assert status.fetchall() == [(2593, 0, 0, False)]
        assert run("sync", "shop_products").stdout == (
            "shop_products: 0 added, 0 changed, 0 removed\n"
        )
        run("detach", "shop_products", "--yes")
        assert connection.execute("SELECT count(*) FROM shop_products").fetchone() == (1297,)
        left = "SELECT count(*) FROM source_items WHERE source LIKE 'shop_products.%'"
        assert connection.execute(left).fetchone() == (0,)
