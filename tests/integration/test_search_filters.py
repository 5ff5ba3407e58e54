"""Searches under a filter: full LIMITs of the right rows, by the graph where many match and without
it where few do. The price of an attached table, and what a policy shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach
from tests.helpers.databases import database_url
from tests.helpers.fakes import vector_of
from tests.helpers.workers import work

ROWS = 6_500  # 5,000 are compared one by one
CAT = str(vector_of(b"cat").tolist())
FILL = """
CREATE TABLE things (id bigint PRIMARY KEY, title text, price integer, source text);
SELECT attach_source('things', '{"title": {"modality": "text", "content": "title"}}',
    metadata => 'jsonb_build_object(''all'', true, ''few'', price < 10)');
ALTER TABLE things DISABLE TRIGGER USER;
INSERT INTO things SELECT n, 'p' || n, n * 7 % %(rows)s, 'theirs'
FROM generate_series(1, %(rows)s) AS n;
DROP TRIGGER source_items_inserted ON source_items;
CALL backfill_source('things');
SELECT setseed(0.5);
INSERT INTO multimodal_items
    (source_id, modality, content_ref, metadata, space_id, content_sha256, embedding)
SELECT s.id, s.modality, s.content_ref, s.metadata, 1, sha256(s.content_ref::bytea), l2_normalize((
    SELECT array_agg(random() - 0.5) FROM generate_series(1, 8 + 0 * s.id))::vector)::halfvec(8)
FROM source_items AS s;
SELECT FROM refresh_space_statistics();
"""
EXACT = """
SELECT i.row_key FROM things_items AS i JOIN things AS p USING (id) WHERE p.price < %(price)s
ORDER BY (i.embedding <=> %(cat)s) + 0 LIMIT %(k)s
"""
WHERE = """
SELECT row_key FROM search_rows_where('things', %(condition)s, embedding => %(cat)s, k => %(k)s)
ORDER BY rank
"""
SCANS = """
SELECT sum(pg_stat_get_xact_numscans(i.indexrelid)) FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
WHERE a.amname = 'hnsw'
"""


@pytest.fixture(scope="module")
def things(server: Any, template: str) -> Iterator[Connection]:
    name = "searches_under_filters"
    with connect(server.url()) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        with connect(database_url(server.url(), name)) as own:
            for statement in FILL.replace("%(rows)s", str(ROWS)).split(";\n"):
                own.execute(statement.encode())
            own.execute("VACUUM ANALYZE")
            yield own
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def scans(connection: Connection) -> Iterator[list[int]]:
    """How many searches of a graph there were meanwhile, in one transaction that is rolled back."""
    found: list[int] = []
    with connection.transaction(force_rollback=True):
        (before,) = connection.execute(SCANS).fetchone() or (0,)
        yield found
        connection.execute("RESET ROLE")
        (after,) = connection.execute(SCANS).fetchone() or (0,)
        found.append(after - before)


@pytest.mark.parametrize("k", [1, 10, 100, 500])
@pytest.mark.parametrize(
    ("price", "by_graph"), [(ROWS, True), (5500, True), (1200, False), (3, False)]
)
def test_the_rows_that_meet_a_condition_are_found_in_full(
    things: Connection, price: int, by_graph: bool, k: int
) -> None:
    given = {"cat": CAT, "k": k, "price": price, "condition": f"price < {price}"}
    exact = things.execute(EXACT, given).fetchall()
    with scans(things) as counted:
        found = things.execute(WHERE, given).fetchall()
    assert len(found) == len(exact) == min(k, price)
    assert counted == [int(by_graph)]
    if by_graph:
        assert len({*found} & {*exact}) >= 0.95 * len(exact)
    else:
        assert found == exact


def test_a_condition_may_be_about_a_column_that_is_called_as_one_of_ours(
    things: Connection,
) -> None:
    for condition in (f"source = 'theirs' AND id < {ROWS + 1}", "source = 'theirs' -- of them"):
        given = {"cat": CAT, "k": 5, "price": ROWS, "condition": condition}
        assert things.execute(WHERE, given).fetchall() == things.execute(EXACT, given).fetchall()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("no_such_column = 1", "condition cannot be asked for: column .no_such_column"),
        ("embedding IS NOT NULL", "condition cannot be asked for: column .embedding"),
        ("price <", "condition cannot be asked for: syntax error"),
        (
            "true); DELETE FROM public.things; SELECT (true",
            "condition cannot be asked for: .*multi-query",
        ),
        ("count(*) > 1", "condition cannot be asked for: aggregate"),
        ("", "condition is ''"),
    ],
)
def test_what_is_no_condition_is_refused_by_name(
    things: Connection, condition: str, said: str
) -> None:
    with pytest.raises(psycopg.Error, match=said), things.transaction():
        things.execute(WHERE, {"cat": CAT, "k": 5, "condition": condition})
    assert things.execute("SELECT count(*) FROM things").fetchone() == (ROWS,)


def test_whoever_may_not_read_the_table_learns_nothing_of_it(things: Connection) -> None:
    given = {"cat": CAT, "k": 5, "condition": "price < 3"}
    with things.transaction(force_rollback=True):
        things.execute("CREATE ROLE reader IN ROLE pipeline_analyst")
        things.execute("SET LOCAL ROLE reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="things"):
            things.execute(WHERE, given)


def test_a_policy_that_shows_most_rows_leaves_the_search_to_the_graph(things: Connection) -> None:
    """PostgreSQL takes it to show a hundredth, and would sort all that it shows."""
    search = "SELECT row_key FROM search_rows('things', embedding => %(cat)s) ORDER BY rank"
    with scans(things) as counted:
        things.execute("ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY")
        things.execute(
            "CREATE POLICY shown ON multimodal_items FOR SELECT "
            "USING (metadata @> jsonb_build_object(current_setting('app.label'), true))"
        )
        things.execute("CREATE ROLE reader IN ROLE pipeline_analyst")
        things.execute("SET LOCAL app.label = 'all'")
        things.execute("SET LOCAL ROLE reader")
        found = things.execute(search, {"cat": CAT}).fetchall()
    exact = things.execute(EXACT, {"cat": CAT, "price": ROWS, "k": 10}).fetchall()
    assert counted == [1]
    assert len({*found} & {*exact}) >= 9


def test_rows_of_several_key_columns_are_chosen_among(
    shop: Connection, connection: Connection, space: Space, settings: Settings
) -> None:
    shop.execute(
        "CREATE TABLE shop.visits (at timestamptz, n bigint, said text, PRIMARY KEY (at, n))"
    )
    attach(shop, "shop.visits", contents={"said": {"modality": "text", "content": "said"}})
    shop.execute(
        "INSERT INTO shop.visits SELECT '2026-01-01Z'::timestamptz + n * interval '1 day', n, "
        "'a visit of the day ' || n FROM generate_series(1, 9) AS n"
    )
    work(settings, space)
    where = (
        "SELECT content_ref FROM search_rows_where('visits', %s, embedding => "
        "(SELECT embedding FROM multimodal_items LIMIT 1)) ORDER BY rank"
    )
    rows = connection.execute(where, ("at < '2026-01-04Z'",)).fetchall()
    assert sorted(rows) == [("a visit of the day 1",), ("a visit of the day 2",)]
    connection.execute(
        "INSERT INTO attached_sources (name, location, capture, sources, definition) "
        "VALUES ('files', 'file:///x', 'scan', '{files}', '{}')"
    )
    with pytest.raises(psycopg.Error, match="is no table or view"):
        connection.execute(where.replace("visits", "files"), ("true",))
