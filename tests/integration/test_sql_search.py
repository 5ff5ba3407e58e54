"""search_items() and plain SQL on 10,000 texts and 10,000 images with a modality gap: full LIMITs,
exact order, recall. What is exact is computed here, by numpy."""

import functools
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.engines import create_engine
from pipeline.postgres.urls import libpq_url
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.demo_pairs import ndcg, store_demo_pairs
from tests.helpers.two_cones import COUNT, FIRST_IMAGE, SHARES, cones, cones_url

# In a sub-select the vector is looked up once, also where the plan compares many rows.
PLAIN = """
SELECT source_id, 1 - (embedding <=> (SELECT text_embedding(%(query)s))) AS similarity
FROM multimodal_items
WHERE modality = ANY (%(modality)s) AND metadata @> %(filter)s::jsonb
ORDER BY embedding <=> (SELECT text_embedding(%(query)s))
LIMIT %(k)s
"""
SEARCH = """
SELECT source_id, score FROM search_items(%(query)s, modality => %(modality)s,
    filter => %(filter)s::jsonb, k => %(k)s, ranking => %(ranking)s)
ORDER BY rank
"""
BOTH = ("image", "text")


pytestmark = pytest.mark.timeout(900)  # the first test builds two HNSW indexes


@pytest.fixture(scope="module")
def filled(server: EmbeddedServer, template: str) -> Iterator[Connection]:
    with connect(cones_url(server.url(), template)) as connection:
        yield connection


@functools.cache
def prepared(calibrated: bool) -> dict[str, tuple[Vectors, Vectors]]:
    """Per modality: the vectors as they are compared, and what is subtracted from a query."""
    nothing = np.zeros(cones().texts.shape[1], dtype=np.float32)
    sets = {"text": cones().texts, "image": cones().images}
    of_texts = sets["text"].mean(axis=0) if calibrated else nothing
    return {
        m: (unit_rows(v - v.mean(axis=0) if calibrated else v), of_texts) for m, v in sets.items()
    }


def exact_scores(number: int, ranking: str, modalities: tuple[str, ...]) -> dict[str, Vectors]:
    """Per modality the score of every item for 'query <number>', shape (COUNT,)."""
    sets = prepared(ranking == "calibrated" and len(modalities) > 1)
    query = cones().queries[number : number + 1]
    return {m: sets[m][0] @ unit_rows(query - sets[m][1])[0] for m in modalities}


def check(rows: list[tuple[Any, ...]], scores: dict[str, Vectors], share: int, k: int) -> float:
    """Number and order of the rows; returns the recall, with items that are as near counted."""
    matching = {m: s[::share] for m, s in scores.items()}
    best = np.sort(np.concatenate(list(matching.values())))[::-1]
    assert len(rows) == len({source for source, _ in rows}) == min(k, len(best))
    found = [
        scores["image"][s - FIRST_IMAGE] if s >= FIRST_IMAGE else scores["text"][s - 1]
        for s, _ in rows
    ]
    np.testing.assert_allclose([score for _, score in rows], found, atol=2e-3)
    assert all((s - (FIRST_IMAGE if s >= FIRST_IMAGE else 1)) % share == 0 for s, _ in rows)
    return float(np.mean(np.asarray(found) >= best[len(rows) - 1] - 2e-4))


def test_text_to_image_by_plain_sql_and_by_search_items(filled: Connection) -> None:
    recalls: dict[str, list[float]] = {"plain": [], "search_items": []}
    for number in range(40):
        values = {
            "query": f"query {number}",
            "modality": ["image"],
            "filter": "{}",
            "k": 10,
            "ranking": "calibrated",
        }
        scores = exact_scores(number, "raw", ("image",))
        for name, query in (("plain", PLAIN), ("search_items", SEARCH)):
            rows = filled.execute(query, values).fetchall()
            assert len(rows) == 10
            recalls[name].append(check(rows, scores, 1, 10))
    assert np.mean(recalls["plain"]) >= 0.95
    assert np.mean(recalls["search_items"]) >= 0.95


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("k", [1, 10, 100, 500])
def test_every_filter_and_k_gives_full_rows_in_exact_order(
    filled: Connection, share: str, k: int
) -> None:
    queries = range(40) if k < 100 else range(3)
    for modalities in (("image",), ("text",), BOTH):
        for ranking in ("raw", "calibrated") if len(modalities) > 1 else ("raw",):
            recalls, plain = [], []
            for number in queries:
                values = {
                    "query": f"query {number}",
                    "modality": list(modalities),
                    "filter": f'{{"{share}": true}}',
                    "k": k,
                    "ranking": ranking,
                }
                scores = exact_scores(number, ranking, modalities)
                rows = filled.execute(SEARCH, values).fetchall()
                assert rows == sorted(rows, key=lambda row: -row[1])
                recalls.append(check(rows, scores, SHARES[share], k))
                if ranking == "raw":
                    found = filled.execute(PLAIN, values).fetchall()
                    plain.append(check(found, scores, SHARES[share], k))
            assert np.mean(recalls) >= 0.95, (modalities, ranking)
            assert not plain or np.mean(plain) >= 0.9, (modalities, "plain")


def test_calibrated_ranking_brings_the_pictures_back(filled: Connection) -> None:
    """The one relevant item of a text query is stored as a text or as a picture, half each."""
    try:
        with filled.transaction():
            filled.execute(
                "DELETE FROM multimodal_items WHERE modality = 'text' AND source_id IN "
                "(SELECT n + 1 FROM generate_series(0, 198, 2) AS n)"
            )
            filled.execute(
                "DELETE FROM multimodal_items WHERE modality = 'image' AND source_id IN "
                f"(SELECT n + {FIRST_IMAGE} FROM generate_series(1, 199, 2) AS n)"
            )
            raw, calibrated = ndcg(filled, "raw", 200), ndcg(filled, "calibrated", 200)
            quota = ndcg(filled, "quota", 200)
            raise RuntimeError
    except RuntimeError:
        pass
    assert raw["image"] == 0.0
    assert raw["text"] >= 0.9
    assert calibrated["image"] >= 0.5
    assert calibrated["text"] >= raw["text"] - 0.03
    assert quota["image"] >= 0.5


def test_on_the_demonstration_calibrated_ranking_is_no_worse(connection: Connection) -> None:
    queries = store_demo_pairs(connection, 300)
    raw, calibrated = ndcg(connection, "raw", queries), ndcg(connection, "calibrated", queries)
    assert calibrated["overall"] >= raw["overall"]


def test_psql_the_orm_and_prepared_statements_get_the_same_rows(
    filled: Connection, server: EmbeddedServer, template: str
) -> None:
    url = cones_url(server.url(), template)
    query = (
        "SELECT id FROM multimodal_items WHERE modality = {modality} "
        "ORDER BY embedding <=> text_embedding({query}) LIMIT {k}"
    )
    literal = query.format(modality="'image'", query="'query 7'", k="10")
    bare = subprocess.run(
        [server.binary("psql"), libpq_url(url), "-XAtc", literal],
        capture_output=True,
        text=True,
        check=True,
    )
    by_psql = [int(line) for line in bare.stdout.split()]
    with connect(url) as prepared:
        prepared.execute("SET plan_cache_mode = force_generic_plan")
        values = {"modality": "image", "query": "query 7", "k": 10}
        statement = query.format(modality="%(modality)s", query="%(query)s", k="%(k)s")
        for _ in range(3):
            by_psycopg = prepared.execute(statement, values, prepare=True).fetchall()
    engine = create_engine(url)
    with engine.connect() as session:
        by_sqlalchemy = session.execute(
            text(query.format(modality=":modality", query=":query", k=":k")), values
        ).scalars()
        rows = list(by_sqlalchemy)
    engine.dispose()
    assert len(by_psql) == 10
    assert [row[0] for row in by_psycopg] == rows == by_psql


def explain(connection: Connection, query: str) -> str:
    rows = connection.execute(f"EXPLAIN (COSTS OFF) {query}".encode()).fetchall()
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("call", ["text_embedding('query 1')", "item_embedding(7)"])
def test_a_function_call_is_the_index_key_of_one_partition(filled: Connection, call: str) -> None:
    plan = explain(
        filled,
        f"SELECT id FROM multimodal_items WHERE modality = 'image' "
        f"ORDER BY embedding <=> {call} LIMIT 10",
    )
    assert "Index Scan using multimodal_items_image_s" in plan
    assert f"Order By: (embedding <=> {call.split('(')[0]}(" in plan
    assert "Sort" not in plan
    assert "multimodal_items_text" not in plan


@pytest.mark.parametrize(
    "lost",
    [
        "ORDER BY 1 - (embedding <=> text_embedding('query 1')) DESC LIMIT 10",  # another order
        "ORDER BY embedding <-> text_embedding('query 1') LIMIT 10",  # another operator
        "ORDER BY embedding::vector <=> text_embedding('query 1')::vector LIMIT 10",  # a cast
        "ORDER BY embedding <=> text_embedding('query 1')",  # no LIMIT
    ],
)
def test_four_ways_to_lose_the_index(filled: Connection, lost: str) -> None:
    plan = explain(filled, f"SELECT id FROM multimodal_items WHERE modality = 'image' {lost}")
    assert "Index Scan using multimodal_items_image" not in plan
    assert "Sort" in plan


def test_settings_of_the_session_are_as_before_after_a_search(filled: Connection) -> None:
    shown = "SELECT name, setting FROM pg_settings WHERE name ~ '^hnsw' OR name = 'enable_seqscan'"
    with filled.transaction():
        before = filled.execute(shown).fetchall()
        filled.execute("""SELECT FROM search_items('query 1', filter => '{"tenth": true}')""")
        assert filled.execute(shown).fetchall() == before


def test_everything_can_be_asked_for(filled: Connection) -> None:
    rows = filled.execute("SELECT modality FROM search_items('query 1', k => 3000)").fetchall()
    assert len(rows) == 3000
    assert COUNT > 3000


def test_where_row_security_hides_most_rows_those_left_are_compared_without_an_index(
    filled: Connection,
) -> None:
    """As with a filter: the index would walk among what may not be seen."""
    share = 100
    with filled.transaction(force_rollback=True):
        filled.execute("ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY")
        filled.execute(
            "CREATE POLICY few ON multimodal_items FOR SELECT "
            f"USING (source_id % {share} = 1)".encode()
        )
        filled.execute("CREATE ROLE restricted_analyst IN ROLE pipeline_analyst")
        (index,) = filled.execute(
            "SELECT i.indexrelid FROM embedding_spaces AS s "
            "JOIN pg_index AS i ON i.indrelid = ('multimodal_items_image_s' || s.id)::regclass "
            "JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam "
            "WHERE a.amname = 'hnsw' AND s.state = 'active'"
        ).fetchone() or (None,)
        scans = "SELECT pg_stat_get_xact_numscans(%s)"
        search = (
            "SELECT source_id, score FROM search_items(embedding => "
            "(SELECT text_embedding('query 3')), modality => '{image}', k => 10) ORDER BY rank"
        )
        before = filled.execute(scans, (index,)).fetchone()
        filled.execute("SELECT FROM search_items('query 3', modality => '{image}')")
        assert filled.execute(scans, (index,)).fetchone() != before  # without such a policy
        filled.execute("SET LOCAL ROLE restricted_analyst")
        found = filled.execute(search).fetchall()
        filled.execute("RESET ROLE")
        used = filled.execute(scans, (index,)).fetchone()
        filled.execute("SET LOCAL ROLE restricted_analyst")
        filled.execute(search)
        filled.execute("RESET ROLE")
        assert filled.execute(scans, (index,)).fetchone() == used
    scores = exact_scores(3, "raw", ("image",))
    assert check(found, scores, share, 10) == 1.0
