"""Whatever is done to an attached table, in whatever order, source_items ends as the table says.

What must be there is worked out in Python, from the rows of the table alone.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg import IntegrityError, sql

from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.logical import follow
from tests.helpers.other_server import own_server

CONTENTS = {
    "photo": {"modality": "image", "content": "photo"},
    "title": {"modality": "text", "content": "concat_ws(' ', title, descr)"},
    "more": {"modality": "image", "content": "extra", "each": True},
}
REGIONS = ("eu", "us")
# At what a session may have, on which the text of a key depends.
SESSIONS = {
    "timezone": ("UTC", "America/New_York", "Asia/Kathmandu"),
    "datestyle": ("ISO, MDY", "German", "SQL, DMY"),
    "extra_float_digits": ("1", "-2"),
}
texts = st.sampled_from([None, "", "a", "b", "c d"])
arrays = st.one_of(st.none(), st.lists(st.sampled_from([None, "", "x", "y"]), max_size=3))
values = st.fixed_dictionaries(
    {
        "title": texts,
        "descr": texts,
        "photo": texts,
        "extra": arrays,
        "published": st.sampled_from([True, True, False, None]),
        "price": st.sampled_from(["1", "1.0", "2.50", None]),
        "note": st.sampled_from(['{"a": 1}', '{"a":1}', None]),
        "views": st.integers(0, 2),
    }
)
numbers = st.integers(1, 4)
regions = st.sampled_from(REGIONS)

PLAIN = """
CREATE TABLE histories.products (
    owner integer REFERENCES histories.owners ON DELETE CASCADE ON UPDATE CASCADE,
    id numeric, at timestamptz DEFAULT '2026-01-01 00:00+00', region text,
    title text, descr text, photo text, extra text[], published boolean, price numeric, note json,
    views integer, PRIMARY KEY (id, at) DEFERRABLE
)
"""
PARTITIONED = """
CREATE TABLE histories.products (
    owner integer REFERENCES histories.owners ON DELETE CASCADE ON UPDATE CASCADE,
    id numeric, at timestamptz DEFAULT '2026-01-01 00:00+00', region text,
    title text, descr text, photo text, extra text[], published boolean, price numeric, note json,
    views integer, PRIMARY KEY (id, at, region)
) PARTITION BY LIST (region);
-- Of another order of columns, with one that is gone.
CREATE TABLE histories.products_eu (
    views integer, gone integer, note json, title text, owner integer, descr text, photo text,
    extra text[], published boolean, price numeric, region text NOT NULL, at timestamptz NOT NULL,
    id numeric NOT NULL);
ALTER TABLE histories.products_eu DROP COLUMN gone;
ALTER TABLE histories.products ATTACH PARTITION histories.products_eu FOR VALUES IN ('eu');
CREATE TABLE histories.products_us PARTITION OF histories.products FOR VALUES IN ('us')
"""


COLUMNS = ("title", "descr", "photo", "extra", "published", "price", "note", "views")


def in_order(row: dict[str, Any]) -> list[Any]:
    return [row[column] for column in COLUMNS]


class UndoneError(Exception):
    """To roll back."""


class Histories(RuleBasedStateMachine):
    connection: Connection
    capture: str
    table: str

    @initialize()
    def begin(self) -> None:
        self.renamed = False
        run = self.connection.execute
        run("SELECT detach_source(name) FROM attached_sources")
        run("DROP SCHEMA IF EXISTS histories CASCADE")
        run("CREATE SCHEMA histories CREATE TABLE owners (id integer PRIMARY KEY)")
        run("INSERT INTO histories.owners SELECT generate_series(1, 3)")
        run(self.table.encode())
        run(
            "SELECT attach_source('histories.products', %s, metadata => '{price}', "
            "filter => 'published', capture => %s)",
            (json.dumps(CONTENTS), self.capture),
        )

    # writes

    def _write(self, statement: str, *arguments: object) -> None:
        text = statement.replace("descr", "description") if self.renamed else statement
        # What the table itself refuses changes nothing, and nothing is to follow.
        with suppress(IntegrityError), self.connection.transaction():
            self.connection.execute(text.encode(), arguments)

    def _insert(
        self, number: int, region: str, row: dict[str, Any], into: str = "products"
    ) -> None:
        self._write(
            f"INSERT INTO histories.{into} AS p (id, region, owner, title, descr, photo, extra, "
            "published, price, note, views) SELECT %s, %s, 1, %s, %s, %s, %s::text[], %s, "
            "%s::numeric, %s::json, %s WHERE NOT EXISTS (SELECT FROM histories.products WHERE "
            "id = %s AND at = '2026-01-01T00:00:00Z')",
            number,
            region,
            *in_order(row),
            number,
        )

    @rule(number=numbers, region=regions, row=values)
    def insert(self, number: int, region: str, row: dict[str, Any]) -> None:
        self._insert(number, region, row)

    @rule(number=numbers, region=regions, row=values)
    def insert_into_a_partition(self, number: int, region: str, row: dict[str, Any]) -> None:
        if "PARTITION" in self.table:
            self._insert(number, region, row, f"products_{region}")

    @rule(number=numbers, row=values, many=st.booleans())
    def upsert(self, number: int, row: dict[str, Any], many: bool) -> None:
        self._write(
            "INSERT INTO histories.products AS p (id, region, title, descr, photo, extra, "
            "published, price, note, views) SELECT n, 'eu', %s, %s, %s, %s::text[], %s, "
            "%s::numeric, %s::json, %s FROM generate_series(%s::int, %s) AS n "
            + (
                "ON CONFLICT (id, at, region) DO UPDATE SET title = excluded.title"
                if "PARTITION" in self.table
                else "WHERE n NOT IN (SELECT id FROM histories.products)"
            ),
            *in_order(row),
            number,
            number + 2 * many,
        )

    @rule(number=numbers, row=values)
    def merge(self, number: int, row: dict[str, Any]) -> None:
        self._write(
            "MERGE INTO histories.products AS p USING (VALUES (%s::numeric), (%s)) AS v (id) "
            "ON p.id = v.id WHEN MATCHED AND p.id = 1 THEN DELETE "
            "WHEN MATCHED THEN UPDATE SET photo = %s, extra = %s::text[] "
            "WHEN NOT MATCHED THEN INSERT (id, region, title, published) "
            "VALUES (v.id, 'us', %s, true)",
            number,
            number % 4 + 1,
            row["photo"],
            row["extra"],
            row["title"],
        )

    @rule(
        column=st.sampled_from(COLUMNS),
        numbers=st.lists(numbers, max_size=3),
        row=values,
        of=st.sampled_from(["products", "products", "products_eu"]),
    )
    def update(self, column: str, numbers: list[int], row: dict[str, Any], of: str) -> None:
        if of == "products" or "PARTITION" in self.table:
            self._write(
                f"UPDATE histories.{of} SET {column} = %s, owner = 3 "
                "WHERE id = ANY (%s::numeric[])",
                row[column],
                numbers,
            )

    @rule(
        change=st.sampled_from(
            [
                "id = 5 - id",
                "id = id + 10",
                "at = at + interval '1 day'",
                "id = round(id, 2)",
                "owner = 2",
            ]
        )
    )
    def change_keys(self, change: str) -> None:
        if change == "id = 5 - id" and "DEFERRABLE" not in self.table:
            return  # keys that are checked row by row cannot be swapped
        if change == "id = id + 10":
            self._write("DELETE FROM histories.products WHERE id > 4")
        self._write(f"UPDATE histories.products SET {change}")

    @rule(number=numbers)
    def move_to_another_partition(self, number: int) -> None:
        self._write(
            "UPDATE histories.products SET region = 'us', title = 'moved' WHERE id = %s "
            "AND NOT EXISTS (SELECT FROM histories.products WHERE id = %s AND region = 'us')",
            number,
            number,
        )

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        self._write("DELETE FROM histories.products WHERE id = %s", number)

    @rule(number=st.integers(1, 3), is_gone=st.booleans())
    def cascade(self, number: int, is_gone: bool) -> None:
        self._write("DELETE FROM histories.owners WHERE id = %s", number)
        self._write("INSERT INTO histories.owners VALUES (%s)", number)

    @rule(of=st.sampled_from(["products", "products_eu", "owners"]))
    def truncate(self, of: str) -> None:
        if of != "products_eu" or "PARTITION" in self.table:
            self._write(f"TRUNCATE histories.{of} CASCADE")
        if of == "owners":
            self._write("INSERT INTO histories.owners SELECT generate_series(1, 3)")

    @rule(row=values)
    def several_in_one_statement(self, row: dict[str, Any]) -> None:
        self._write(
            "WITH gone AS (DELETE FROM histories.products WHERE id = 1 RETURNING *), "
            "changed AS (UPDATE histories.products SET title = %s WHERE id = 2) "
            "INSERT INTO histories.products (id, region, title, published) "
            "SELECT id + 100 + (SELECT coalesce(max(id), 0) FROM histories.products), region, "
            "title, published FROM gone",
            row["title"],
        )

    @rule(row=values)
    def copy(self, row: dict[str, Any]) -> None:
        self._write("DELETE FROM histories.products WHERE id IN (7, 8)")
        text = "COPY histories.products (id, region, title, photo, published) FROM STDIN"
        with self.connection.transaction(), self.connection.cursor().copy(text.encode()) as copy:
            for number in (7, 8):
                copy.write_row((number, "us", row["title"], row["photo"], True))

    @rule()
    def rename(self) -> None:
        names = ("description", "descr") if self.renamed else ("descr", "description")
        self.connection.execute(
            sql.SQL("ALTER TABLE histories.products RENAME COLUMN {} TO {}").format(
                *map(sql.Identifier, names)
            )
        )
        self.renamed = not self.renamed

    @rule(number=numbers, row=values, to_a_savepoint=st.booleans())
    def roll_back(self, number: int, row: dict[str, Any], to_a_savepoint: bool) -> None:
        with self.connection.transaction():
            self._insert(number, "eu", row)
            try:
                with self.connection.transaction():
                    self.delete(number)
                    self._write("UPDATE histories.products SET photo = 'undone'")
                    raise UndoneError
            except UndoneError:
                pass
            # Noticed anew, although what the savepoint had noticed is forgotten.
            self._write("UPDATE histories.products SET views = 4")
            self._write("UPDATE histories.products SET title = 'after' WHERE id = %s", number)

    @rule(setting=st.sampled_from(sorted(SESSIONS)), which=st.integers(0, 2))
    def be_another_session(self, setting: str, which: int) -> None:
        of_it = SESSIONS[setting]
        self.connection.execute(
            "SELECT set_config(%s, %s, false)", (setting, of_it[which % len(of_it)])
        )

    # what must hold

    @invariant()
    def source_items_are_what_the_table_says(self) -> None:
        if self.capture == "scan":
            self.connection.execute("SELECT sync_source('products')")
        elif self.capture == "logical":
            follow(self.connection, "products")
        assert self._stored() == self._wanted()
        assert self.connection.execute(
            "SELECT problem FROM attached_source_problems"
        ).fetchall() in (
            [("it was not synced yet",)],
            [],
        )

    def _stored(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        return {
            (source, key): tuple(rest)
            for source, key, *rest in self.connection.execute(
                "SELECT source, source_key, row_key, modality, content_ref, metadata "
                "FROM source_items"
            )
        }

    def _wanted(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        wanted = {}
        for at, identity, region, title, descr, photo, extra, price in self.connection.execute(
            sql.SQL(
                "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') || '+00:00', "
                "id::text, region, title, {}, photo, extra, price::text "
                "FROM histories.products WHERE published"
            ).format(sql.Identifier("description" if self.renamed else "descr"))
        ):
            key = f'[{identity}, "{at}"' + (f', "{region}"]' if "PARTITION" in self.table else "]")
            metadata = {"price": None if price is None else float(price)}

            def put(
                content: str, suffix: str, modality: str, value: str | None,
                key: str = key, metadata: object = metadata,
            ) -> None:  # fmt: skip
                if value:
                    wanted[f"products.{content}", key + suffix] = (key, modality, value, metadata)

            put("photo", "", "image", photo)
            put("title", "", "text", " ".join(t for t in (title, descr) if t is not None))
            for n, element in enumerate(extra or [], 1):
                put("more", f"#{n}", "image", element)
        return wanted


@contextmanager
def as_machine(url: str, capture: str, table: str) -> Iterator[type[Histories]]:
    with connect(url) as connection:
        yield type(
            "OfThisDatabase",
            (Histories,),
            {"connection": connection, "capture": capture, "table": table},
        )


@pytest.fixture(scope="module")
def logical_url() -> Iterator[str]:
    """Of a database whose server writes what logical decoding needs into its log."""
    with own_server() as server:
        with connect(server.url(), schema=None) as admin:
            admin.execute("ALTER SYSTEM SET wal_level = logical")
        server.stop()
        server.start()
        migrate.upgrade(server.url())
        yield server.url()


def run_histories(url: str, capture: str, table: str, histories: int, steps: int) -> None:
    with as_machine(url, capture, table) as machine:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                report_multiple_bugs=False,
            ),
        )


SIZES = pytest.mark.parametrize(
    ("histories", "steps"),
    [(65, 20), pytest.param(650, 40, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
)
TABLES = pytest.mark.parametrize("table", [PLAIN, PARTITIONED], ids=["plain", "partitioned"])


@SIZES
@TABLES
@pytest.mark.parametrize("capture", ["statement", "row", "scan"])
def test_source_items_follow(
    url: str, capture: str, table: str, histories: int, steps: int
) -> None:
    run_histories(url, capture, table, histories, steps)


@SIZES
@TABLES
def test_source_items_follow_by_logical_decoding(
    logical_url: str, table: str, histories: int, steps: int
) -> None:
    # A key that is checked late is no replica identity.
    run_histories(logical_url, "logical", table.replace(" DEFERRABLE", ""), histories, steps)
