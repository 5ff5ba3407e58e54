"""By a compact index each search finds what it finds by a full one, under policies too."""

from typing import Any

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index.build import IndexBuild
from pipeline.spaces.index.graph import Graph, IndexKind
from tests.helpers.attached import attach
from tests.helpers.databases import as_login
from tests.helpers.fakes import vector_of
from tests.helpers.plans import plan_of
from tests.helpers.query_cache import remember
from tests.helpers.workers import work

ROWS = 1_100
DIMENSIONS = 6  # of the fake's 8
CONTENTS = {"title": {"modality": "text", "content": "title"}}
QUERIES = ("bicycle number 7", "boat")
SEARCHES = {
    "hybrid_search": "SELECT id, similarity FROM hybrid_search(%(query)s, k => 20)",
    "hybrid_search by vectors": "SELECT id, similarity FROM hybrid_search(%(query)s, k => 20, "
    "text_weight => 0)",
    "search_rows": "SELECT row_key, similarity FROM search_rows('products', %(query)s, k => 20)",
    "search_rows, filter": "SELECT row_key, similarity FROM search_rows('products', %(query)s, "
    "k => 20, filter => '{\"price\": 3}')",
    "search_rows_where": "SELECT row_key, similarity FROM search_rows_where('products', "
    "'price < 5', %(query)s, k => 20)",
}
# A tenant's rows are those of a price.
POLICY = """
ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE source_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON multimodal_items TO tenant USING (metadata @> '{"price": 3}');
CREATE POLICY tenant ON source_items TO tenant USING (metadata @> '{"price": 3}');
CREATE POLICY everything ON multimodal_items TO pipeline_ingest, pipeline_owner USING (true);
CREATE POLICY everything ON source_items TO pipeline_ingest, pipeline_owner USING (true);
"""


@pytest.fixture
def products(
    shop: Connection, connection: Connection, space: Space, settings: Settings
) -> Connection:
    """1,500 rows of ten prices, embedded; ``QUERIES`` are in the cache."""
    attach(shop, contents=CONTENTS, metadata="{price}")
    shop.execute(
        "INSERT INTO shop.products (id, title, price) "
        "SELECT n, format('bicycle number %%s', n), n %% 10 FROM generate_series(1, %s) AS n",
        (ROWS,),
    )
    work(settings, space)
    for query in QUERIES:
        remember(connection, space, query, vector_of(query.encode()).tolist())
    # So that the index is asked though the table is small, also under a filter, and finds all.
    connection.execute("UPDATE space_modalities SET ef_search = 1000")
    connection.execute("UPDATE space_tunings SET ef_search = 1000")
    connection.execute(
        "CREATE OR REPLACE FUNCTION has_few_matches(modality text, filter jsonb, sources text[], "
        "few bigint) RETURNS boolean LANGUAGE sql RETURN false"
    )
    return shop


def make_compact(connection: Connection, settings: Settings, space: Space) -> Space:
    graph = Graph(space.hnsw_m, space.hnsw_ef_construction)
    kind = IndexKind("compact", DIMENSIONS)
    assert IndexBuild(Database.of(settings), space, rebuild=graph, kind=kind).run()
    found = spaces.active_space(connection)
    assert found.compact_dimensions == DIMENSIONS
    return found


def found(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Of each search and each query: (id or row key, similarity), best first."""
    return {
        f"{name}: {query}": [
            (key, round(similarity, 5))
            for key, similarity in connection.execute(
                statement.encode(), {"query": query}
            ).fetchall()
        ]
        for name, statement in SEARCHES.items()
        for query in QUERIES
    }


def test_each_search_finds_what_a_full_index_finds(
    products: Connection, connection: Connection, settings: Settings, space: Space
) -> None:
    by_full = found(products)
    assert {len(rows) for rows in by_full.values()} == {20}
    compact = make_compact(connection, settings, space)
    assert found(products) == by_full
    index = f"Index Scan using {compact.index_name('text')}"
    definition = connection.execute(
        "SELECT pg_get_indexdef(to_regclass(%s))", (compact.index_name("text"),)
    ).fetchone()
    assert definition is not None
    assert f"subvector(compact, 1, {DIMENSIONS})" in definition[0]
    for name in ("hybrid_search by vectors", "search_rows"):
        call = SEARCHES[name].replace("%(query)s", f"'{QUERIES[1]}'")
        assert index in plan_of(connection, call), name


def test_a_policy_shows_a_tenant_its_own_rows_and_all_that_are_wanted(
    products: Connection, connection: Connection, settings: Settings, space: Space, url: str
) -> None:
    with as_login(connection, url, "tenant", "LOGIN IN ROLE pipeline_analyst") as tenant:
        connection.execute(POLICY.encode())
        products.execute("GRANT USAGE ON SCHEMA shop TO tenant")
        products.execute("GRANT SELECT ON shop.products TO tenant")
        by_full = found(tenant)
        assert {len(rows) for rows in by_full.values()} == {20}
        make_compact(connection, settings, space)
        assert found(tenant) == by_full
        prices = tenant.execute(
            "SELECT DISTINCT metadata ->> 'price' FROM search_items('boat', k => 50)"
        ).fetchall()
        assert prices == [("3",)]
