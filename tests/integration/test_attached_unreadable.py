"""A row of an attached table that cannot be read keeps no other from being followed."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.doctor.attached import attached
from pipeline.postgres.connections import Connection
from pipeline.sources.attached_sync import differing
from pipeline.sources.attached_sync import sync as sync_by_batch
from tests.helpers.attached import attach, problem, shopkeeper, source_items, sync
from tests.helpers.databases import as_login

NUMBER = {"number": {"modality": "text", "content": "title::int::text"}}
CANNOT = "a row cannot be read: 2 (number: invalid text for its type (SQLSTATE 22P02))"


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    with shopkeeper(connection, url) as own:
        yield own


def numbers(connection: Connection) -> list[tuple[str, str]]:
    return [(key, content) for _, key, _, content in source_items(connection)]


def listen(connection: Connection) -> list[str]:
    said: list[str] = []
    connection.add_notice_handler(lambda n: said.append(f"{n.severity} {n.message_primary}"))
    return said


@pytest.mark.parametrize("capture", ["statement", "row", "scan"])
def test_a_sync_leaves_out_what_cannot_be_read_and_names_it(shop: Connection, capture: str) -> None:
    shop.execute("INSERT INTO shop.products VALUES (1, '10'), (2, '20'), (3, '30'), (4, '40')")
    attach(shop, contents=NUMBER, capture=capture)
    sync(shop)
    shop.execute("ALTER TABLE shop.products DISABLE TRIGGER "
                 "USER; UPDATE shop.products SET title = CASE id WHEN 2 THEN 'twenty' "
                 "ELSE id::text END; DELETE FROM shop.products WHERE id = 4; "
                 "ALTER TABLE shop.products ENABLE TRIGGER USER")  # fmt: skip
    said = listen(shop)
    assert sync(shop) == (0, 2, 1)
    assert numbers(shop) == [("1", "1"), ("2", "20"), ("3", "3")]
    assert problem(shop) == CANNOT
    assert said == [
        "WARNING row 2 of products cannot be read: number: "
        'invalid input syntax for type integer: "twenty"'
    ]
    assert sync(shop) == (0, 0, 0)
    assert problem(shop) == CANNOT
    shop.execute("UPDATE shop.products SET title = '21' WHERE id = 2")
    sync(shop)
    assert numbers(shop) == [("1", "1"), ("2", "21"), ("3", "3")]
    assert problem(shop) is None


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.parametrize("given", ['{"url": "a.jpg"}', '"a.jpg"', "3"])
def test_the_elements_of_json_that_is_no_array(shop: Connection, kind: str, given: str) -> None:
    """Nothing would have been said of it, and nothing been found of it."""
    shop.execute(f"CREATE TABLE shop.t (id int PRIMARY KEY, photos {kind})".encode())
    photos = {"modality": "image", "content": "photos", "each": True}
    attach(shop, "shop.t", {"photos": photos})
    shop.execute("""INSERT INTO shop.t VALUES (1, '["b.jpg"]'), (2, %s)""", (given,))
    assert [row[1] for row in source_items(shop)] == ["1#1"]
    assert (
        problem(shop, "t")
        == "a row cannot be read: 2 (photos: invalid parameter value (SQLSTATE 22023))"
    )
    shop.execute("""UPDATE shop.t SET photos = '["c.jpg"]' WHERE id = 2""")
    sync(shop, "t")
    assert problem(shop, "t") is None


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_the_other_rows_of_a_statement_follow(shop: Connection, capture: str) -> None:
    attach(shop, contents=NUMBER, capture=capture)
    sync(shop)
    said = listen(shop)
    shop.execute("INSERT INTO shop.products VALUES (1, '10'), (2, 'twenty'), (3, '30')")
    assert numbers(shop) == [("1", "10"), ("3", "30")]
    assert problem(shop) == CANNOT
    assert said == ["WARNING row 2 of products cannot be read: number: invalid text for its type "
                    "(SQLSTATE 22P02)"]  # fmt: skip
    said.clear()
    # Whatever the plan, and however many are written.
    shop.execute("UPDATE shop.products SET title = '11', id = 5 WHERE id = 1")
    shop.execute("INSERT INTO shop.products SELECT g, g FROM generate_series(100, 400) AS g")
    shop.execute("DELETE FROM shop.products WHERE id > 103 OR id = 3")
    assert numbers(shop) == [*((str(n), str(n)) for n in range(100, 104)), ("5", "11")]
    assert said == []
    shop.execute("UPDATE shop.products SET title = '20' WHERE id = 2")
    assert ("2", "20") in numbers(shop)
    sync(shop)
    assert problem(shop) is None


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_a_filter_that_fails_for_a_row(shop: Connection, capture: str) -> None:
    attach(shop, filter="1 / views > 0", capture=capture)
    sync(shop)
    shop.execute("INSERT INTO shop.products (id, title, views) VALUES (1, 'a', 1), (2, 'b', 0)")
    assert numbers(shop) == [("1", "a")]
    said = (
        "a row cannot be read: 2 (filter or more, photo, title: division by zero (SQLSTATE 22012))"
    )
    assert problem(shop) == said
    # Other rows do not meet it, though a scan of the table would, which is what it is so small for.
    shop.execute("ANALYZE shop.products")
    shop.execute("INSERT INTO shop.products (id, title, views) VALUES (3, 'c', 1)")
    shop.execute("UPDATE shop.products SET title = 'd' WHERE id = 1")
    assert numbers(shop) == [("1", "d"), ("3", "c")]
    shop.execute("UPDATE shop.products SET title = 'x' WHERE id = 2")
    assert sync(shop) == (0, 0, 0)
    assert problem(shop) == said
    shop.execute("UPDATE shop.products SET views = 1")
    assert sync(shop) == (0, 0, 0)
    assert numbers(shop) == [("1", "d"), ("2", "x"), ("3", "c")]
    assert problem(shop) is None


def test_metadata_that_fails_for_a_row_is_named(shop: Connection) -> None:
    attach(shop, metadata="jsonb_build_object('a', 1 / views)")
    shop.execute("INSERT INTO shop.products (id, title, views) VALUES (1, 'a', 1), (2, 'b', 0)")
    assert sync(shop) == (0, 0, 0)
    said = "a row cannot be read: 2 (metadata: division by zero (SQLSTATE 22012))"
    assert problem(shop) == said
    assert numbers(shop) == [("1", "a")]


def test_a_statement_of_very_many_rows_is_left_to_the_next_sync(shop: Connection) -> None:
    attach(shop, contents=NUMBER)
    sync(shop)
    shop.execute(
        "INSERT INTO shop.products SELECT g, CASE g WHEN 2 THEN 'x' ELSE g::text END "
        "FROM generate_series(1, 3000) AS g"
    )
    assert problem(shop) == "invalid text for its type (SQLSTATE 22P02)"
    assert numbers(shop) == []
    shop.execute("CALL backfill_source('products', 500)")
    assert len(numbers(shop)) == 2999
    assert problem(shop) == CANNOT


def test_all_rows_of_many_that_cannot_be_read_are_counted(shop: Connection) -> None:
    shop.execute("INSERT INTO shop.products SELECT g, 'x' FROM generate_series(1, 30) AS g")
    shop.execute("INSERT INTO shop.products VALUES (31, '31')")
    attach(shop, contents=NUMBER)
    said = listen(shop)
    assert sync(shop) == (1, 0, 0)
    assert len(said) == 5
    told = problem(shop)
    assert told is not None
    assert told.startswith("30 rows cannot be read: ")
    assert told.endswith(" ...")


def test_a_key_of_several_columns_and_partitions(connection: Connection, url: str) -> None:
    table = """
        CREATE TABLE shop.products (a text, b timestamptz, title text, PRIMARY KEY (a, b))
            PARTITION BY LIST (a);
        CREATE TABLE shop.x PARTITION OF shop.products FOR VALUES IN ('x');
        CREATE TABLE shop.y PARTITION OF shop.products FOR VALUES IN ('y')
    """
    with shopkeeper(connection, url, table) as shop:
        shop.execute("INSERT INTO shop.products VALUES ('x', '2026-01-01', '1'), "
                     "('y', '2026-01-01', 'one'), ('y', '2026-01-02', '3')")  # fmt: skip
        attach(shop, contents=NUMBER)
        shop.execute("SET timezone = 'Asia/Tokyo'")
        assert sync(shop) == (2, 0, 0)
        shop.execute("INSERT INTO shop.y VALUES ('y', '2026-01-03', '4'), ('y', '2026-01-04', '?')")
        assert len(numbers(shop)) == 3
        assert sync(shop) == (0, 0, 0)
        assert "2 rows cannot be read" in str(problem(shop))


def test_a_fault_of_everything_is_not_looked_for_row_by_row(shop: Connection) -> None:
    shop.execute("CREATE FUNCTION shop.f(text) RETURNS text STABLE LANGUAGE plpgsql AS "
                 "'BEGIN RETURN $1; END'")  # fmt: skip
    shop.execute("INSERT INTO shop.products VALUES (1, 'a')")
    attach(shop, contents={"title": {"modality": "text", "content": "shop.f(title)"}})
    sync(shop)
    shop.execute("CREATE OR REPLACE FUNCTION shop.f(text) RETURNS text STABLE LANGUAGE plpgsql AS "
                 "'BEGIN RETURN nothing.f($1); END'")  # fmt: skip
    shop.execute("UPDATE shop.products SET title = 'b'")
    assert problem(shop) == 'schema "nothing" does not exist'
    with pytest.raises(psycopg.Error, match='schema "nothing" does not exist'):
        sync(shop)


def test_the_value_is_for_who_may_read_the_table(
    shop: Connection, connection: Connection, url: str
) -> None:
    attach(shop, contents=NUMBER)
    shop.execute("INSERT INTO shop.products VALUES (2, 'secret')")
    sync(shop)
    with as_login(connection, url, "someone", "LOGIN IN ROLE pipeline_analyst") as analyst:
        said = str(analyst.execute("SELECT * FROM attached_source_status").fetchall())
        said += str(analyst.execute("SELECT * FROM attached_source_problems").fetchall())
    assert "22P02" in said
    assert "secret" not in said


def test_doctor_and_a_dry_run_say_so_and_change_nothing(shop: Connection) -> None:
    attach(shop, contents=NUMBER)
    sync(shop)
    shop.execute("ALTER TABLE shop.products DISABLE TRIGGER USER")
    shop.execute("INSERT INTO shop.products VALUES (1, '1'), (2, 'x')")
    shop.execute("ALTER TABLE shop.products ENABLE TRIGGER USER")
    assert differing(shop, "products").rows == 1
    assert problem(shop) is None
    done = sync_by_batch(shop, "products")
    assert (done.added, done.problems) == (
        1,
        ('row 2 of products cannot be read: number: invalid input syntax for type integer: "x"',),
    )
    (check,) = [check for check in attached(shop) if not check.ok]
    assert CANNOT in check.found
    cure, _, command = check.fix.partition("; then ")
    assert cure == "change the row, or detach and attach with other expressions"
    assert command == "pipeline sync products"


# what an error is of


CHECKED = """
CREATE FUNCTION shop.checked(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $$BEGIN ASSERT t <> 'bad', 'no bad ones'; RETURN t; END$$
"""
FAILING = {
    "assert": "shop.checked(title)",
    "tsquery": "(CASE WHEN title = 'bad' THEN 'a b' ELSE title END)::tsquery::text",
    "own code": "shop.raising(title)",
}
RAISING = """
CREATE FUNCTION shop.raising(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $$BEGIN
    IF t = 'bad' THEN RAISE EXCEPTION 'not %', t USING ERRCODE = 'APP01'; END IF; RETURN t;
END$$
"""


@pytest.mark.parametrize("capture", ["statement", "row"])
@pytest.mark.parametrize("failing", FAILING)
def test_whatever_a_row_raises_it_alone_is_left_out(
    shop: Connection, failing: str, capture: str
) -> None:
    shop.execute(CHECKED.encode())
    shop.execute(RAISING.encode())
    contents = {"title": {"modality": "text", "content": FAILING[failing]}}
    attach(shop, contents=contents, capture=capture)
    sync(shop)
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'bad'), (2, 'good')")
    assert [row[1] for row in source_items(shop)] == ["2"]
    told = str(problem(shop))
    assert told.startswith("a row cannot be read: 1 (title: ")
    assert "a b" not in told
    assert "not bad" not in told
    shop.execute("DELETE FROM source_items")
    assert sync(shop) == (1, 0, 0)
    shop.execute("UPDATE shop.products SET title = 'mended' WHERE id = 1")
    sync(shop)
    assert problem(shop) is None


def test_a_statement_of_many_such_rows_does_not_wait_for_all(shop: Connection) -> None:
    shop.execute(CHECKED.encode())
    attach(shop, contents={"title": {"modality": "text", "content": "shop.checked(title)"}})
    sync(shop)
    said: list[str] = []
    shop.add_notice_handler(lambda n: said.append(str(n.message_primary)))
    shop.execute(
        "INSERT INTO shop.products (id, title) "
        "SELECT n, CASE WHEN n <= 100 THEN 'bad' ELSE 'good' END FROM generate_series(1, 110) n"
    )
    assert said == ["the items of products do not follow: more than 10 of its rows cannot be read"]
    assert source_items(shop) == []
    assert sync(shop) == (10, 0, 0)
    assert str(problem(shop)).startswith("100 rows cannot be read: ")
