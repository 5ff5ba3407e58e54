"""Attached tables beside applications that write: nobody loses, and all ends as the table says."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach, problem, sync
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import make_worker, running

CONTENTS = {
    "title": {"modality": "text", "content": "title"},
    "more": {"modality": "text", "content": "more", "each": True},
}
NOT_EQUAL = """
SELECT count(*) FROM {} AS v FULL JOIN source_items AS i
    ON v.source = i.source AND v.source_key = i.source_key
WHERE (v.row_key, v.content_ref, v.metadata) IS DISTINCT FROM (i.row_key, i.content_ref, i.metadata)
"""


@pytest.fixture(params=["statement", "row"])
def products(request: pytest.FixtureRequest, connection: Connection) -> Iterator[str]:
    connection.execute(
        "CREATE TABLE products (id integer PRIMARY KEY, title text, more text[], price integer)"
    )
    connection.execute(
        "INSERT INTO products SELECT n, 'title ' || n, ARRAY['a ' || n, 'b'], n "
        "FROM generate_series(1, 3000) AS n"
    )
    attach(connection, "products", CONTENTS, metadata="{price}", capture=request.param)
    yield "products"
    drop(connection)


def drop(connection: Connection) -> None:
    connection.execute("SELECT detach_source('products')")
    connection.execute("DROP TABLE products")


@contextmanager
def beside(
    url: str, work: Callable[[Connection, random.Random], object], count: int
) -> Iterator[None]:
    """So many threads that do this again and again; an error of any of them is the test's."""
    stop, errors = threading.Event(), list[BaseException]()

    def go(number: int) -> None:
        chance = random.Random(number)
        try:
            with connect(url) as connection:
                while not stop.is_set():
                    work(connection, chance)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=go, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def write(connection: Connection, chance: random.Random) -> None:
    """A transaction of an application: of one row, so that it waits for one at a time."""
    number = chance.randint(1, 3200)
    roll_back = chance.random() < 0.1
    with suppress(psycopg.errors.UniqueViolation), connection.transaction(None, roll_back):
        connection.execute(
            chance.choice(
                [
                    "UPDATE products SET title = title || '!' WHERE id = %(n)s",
                    "UPDATE products SET more = more[2:] || 'c'::text WHERE id = %(n)s",
                    "UPDATE products SET price = price + 1 WHERE id = %(n)s",
                    "DELETE FROM products WHERE id = %(n)s",
                    "INSERT INTO products VALUES (%(n)s, 'new', '{d}', 1) ON CONFLICT DO NOTHING",
                    "UPDATE products SET id = id + 10000 WHERE id = %(n)s AND id < 10000",
                ]
            ),
            {"n": number},
        )


def test_a_backfill_beside_writers_ends_as_the_table_says(
    connection: Connection, url: str, products: str
) -> None:
    (view,) = connection.execute("SELECT view::text FROM attached_sources").fetchall()[0]
    with beside(url, write, 4):
        for _ in range(3):
            connection.execute("CALL backfill_source('products', 100)")
    # What a writer held meanwhile was left to its own trigger; what rolled back, to the next.
    sync(connection)
    assert connection.execute(NOT_EQUAL.format(view).encode()).fetchone() == (0,)
    assert problem(connection) is None
    assert sync(connection) == (0, 0, 0)


def test_the_application_never_loses_against_a_worker_and_a_sync(
    connection: Connection, url: str, products: str, settings: Settings, space: Space
) -> None:
    """Each transaction changes two rows, in either order; any deadlock would be its own alone."""
    sync(connection)
    done = threading.Semaphore(0)

    def change_two(own: Connection, chance: random.Random) -> None:
        with own.transaction():
            for number in chance.sample(range(1, 40), 2):
                own.execute(
                    "UPDATE products SET title = title || '!', more = more || title WHERE id = %s",
                    (number,),
                )
        done.release()

    def sync_again(own: Connection, _: random.Random) -> None:
        own.execute("UPDATE attached_sources SET synced_at = NULL")
        with suppress(psycopg.errors.DeadlockDetected):  # ours may lose, and be run again
            sync(own)

    worker = make_worker(settings, space, FakeEmbedder())
    with running(worker), beside(url, change_two, 1), beside(url, sync_again, 1):
        for _ in range(150):
            assert done.acquire(timeout=60)
    sync(connection)
    (view,) = connection.execute("SELECT view::text FROM attached_sources").fetchall()[0]
    assert connection.execute(NOT_EQUAL.format(view).encode()).fetchone() == (0,)


def test_attaching_holds_up_nobody(connection: Connection, url: str) -> None:
    """CREATE TRIGGER waits for who writes, and would have all others wait behind it."""
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
    contents = {"title": CONTENTS["title"]}
    with connect(url) as busy, connect(url) as other, connect(url) as attacher:
        with busy.transaction():
            busy.execute("INSERT INTO products VALUES (1, 'in a long transaction')")
            thread = threading.Thread(target=attach, args=(attacher, "products", contents))
            thread.start()
            other.execute("SET lock_timeout = '5s'")
            for number in range(2, 60):
                other.execute("INSERT INTO products VALUES (%s, 'beside it')", (number,))
                threading.Event().wait(0.02)
            assert thread.is_alive()
        thread.join()
    assert sync(connection) == (59, 0, 0)
    drop(connection)


def test_a_sync_in_an_old_snapshot_is_refused(connection: Connection, products: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.Error, match="cannot run in a repeatable read transaction"):
            sync(connection)


def test_a_sync_leaves_rows_to_whoever_is_changing_them(
    connection: Connection, url: str, products: str
) -> None:
    """Who waited for them would then write what it had read before."""
    with connect(url) as own, connect(url) as syncing:
        syncing.execute("SET lock_timeout = '1s'")
        with own.transaction():
            own.execute("UPDATE products SET title = 'changed' WHERE id = 1")
            own.execute("DELETE FROM products WHERE id = 2")
            own.execute("INSERT INTO products VALUES (0, 'new')")
            assert sync(syncing) == (3 * 2998, 0, 0)
            assert problem(syncing) == "2 of its rows were being changed during the last sync"
    kept = "SELECT row_key, content_ref FROM source_items WHERE source = 'products.title' AND "
    assert connection.execute(
        f"{kept} row_key IN ('0', '1', '2') ORDER BY 1".encode()
    ).fetchall() == [
        ("0", "new"),
        ("1", "changed"),
    ]
    assert sync(connection) == (0, 0, 0)


def test_a_sync_waits_for_no_source_item(connection: Connection, url: str, products: str) -> None:
    sync(connection)
    connection.execute("ALTER TABLE products DISABLE TRIGGER USER")
    connection.execute("UPDATE products SET title = 'changed' WHERE id < 3")
    connection.execute("DELETE FROM products WHERE id BETWEEN 3 AND 4")
    connection.execute("ALTER TABLE products ENABLE TRIGGER USER")
    with connect(url) as own, connect(url) as syncing:
        syncing.execute("SET lock_timeout = '1s'")
        with own.transaction():
            own.execute("SELECT FROM source_items WHERE row_key IN ('1', '3') FOR UPDATE")
            assert sync(syncing) == (0, 1, 3)
            assert problem(syncing) == "2 of its rows were being changed during the last sync"
    assert sync(connection) == (0, 1, 3)
    assert problem(connection) is None


def test_detaching_holds_up_nobody(connection: Connection, url: str, products: str) -> None:
    """Neither who waits behind it for the table, nor who writes what it has removed."""
    sync(connection)
    with connect(url) as reader, connect(url) as writer, connect(url) as other:
        for own in (writer, other):
            own.execute("SET lock_timeout = '5s'")
        with reader.transaction(), writer.transaction():
            reader.execute("SELECT count(*) FROM products")
            writer.execute("UPDATE products SET title = 'changed' WHERE id = 1")
            with connect(url) as detacher:
                statement = "SELECT detach_source('products')"
                thread = threading.Thread(target=detacher.execute, args=(statement,))
                thread.start()
                for number in range(2, 40):
                    writer.execute("UPDATE products SET title = 'x' WHERE id = %s", (number,))
                    other.execute("UPDATE products SET price = 1 WHERE id = %s", (number + 100,))
                    other.execute("SELECT count(*) FROM products")
                    threading.Event().wait(0.02)
                assert thread.is_alive()
                reader.execute("ROLLBACK")
                writer.execute("COMMIT")
                thread.join()
    assert connection.execute("SELECT count(*) FROM source_items").fetchone() == (0,)
    attach(connection, "products", CONTENTS)  # for the end


def test_attaching_beside_a_writer_of_what_it_depends_on(connection: Connection, url: str) -> None:
    connection.execute("CREATE TABLE products (id integer PRIMARY KEY, title text)")
    connection.execute("CREATE TABLE tags (tag text)")
    contents = {"title": CONTENTS["title"]}
    with connect(url) as busy, connect(url) as other, connect(url) as attacher:
        with busy.transaction():
            busy.execute("INSERT INTO tags VALUES ('in a long transaction')")
            thread = threading.Thread(
                target=attach,
                args=(attacher, "products", contents),
                kwargs={"depends_on": ["tags"]},
            )
            thread.start()
            other.execute("SET lock_timeout = '5s'")
            for number in range(2, 40):
                other.execute("INSERT INTO products VALUES (%s, 'beside it')", (number,))
                other.execute("INSERT INTO tags VALUES ('beside it')")
                threading.Event().wait(0.02)
            busy.execute("INSERT INTO products VALUES (1, 'after it')")
            assert thread.is_alive()
        thread.join()
    assert problem(connection) is not None
    drop(connection)
    connection.execute("DROP TABLE tags")
