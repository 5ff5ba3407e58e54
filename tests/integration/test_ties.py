"""Items that are as near come in the order of their ids: pages continue, and k only cuts."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from pipeline import nearest_to, similar_to
from pipeline.postgres.connections import Connection
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.engines import create_engine
from pipeline.postgres.urls import libpq_url
from pipeline.spaces import Space, build_indexes
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.fakes import vector_of
from tests.helpers.two_cones import store, store_queries

NEXT_PAGE = Path(__file__).parents[2] / "sql/queries/next_page.sql"
EQUAL, OTHERS = 1397, 600


@pytest.fixture
def tied(connection: Connection, space: Space) -> Vectors:
    """Of each modality 1,397 equal vectors amid 600 others, indexed; their ids in no order."""
    random = np.random.default_rng(5)
    same = vector_of(b"same")
    for first, modality in ((1, "text"), (100_001, "image")):
        vectors = np.concatenate([[same] * EQUAL, unit_rows(random.normal(size=(OTHERS, 8)))])
        store(connection, space, modality, vectors, first_source_id=first)
    connection.execute("UPDATE multimodal_items SET id = 1000000 + (id * 7919) % 99991")
    build_indexes(connection, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    connection.execute("ANALYZE multimodal_items")
    store_queries(connection, space, np.stack([same, unit_rows(random.normal(size=(1, 8)))[0]]))
    return same


def ids(connection: Connection, query: str, **values: Any) -> list[int]:
    return [row[0] for row in connection.execute(query.encode(), values).fetchall()]


ARGUMENTS = pytest.mark.parametrize("arguments", [
    "modality => '{image}'", "ranking => 'raw'", "ranking => 'calibrated'", "ranking => 'quota'",
    "modality => '{text}', min_similarity => -0.9",
    "modality => '{image}', filter => '{\"tenth\": true}'",
])  # fmt: skip


def check_prefixes(connection: Connection, arguments: str) -> None:
    """A smaller k gives the first of a larger one, which are in the order of score and id."""
    search = f"SELECT id FROM search_items('query 0', k => %(k)s, {arguments}) ORDER BY rank"
    many = ids(connection, search, k=60)
    assert len(many) == 60
    for k in (1, 10, 11, 37):
        assert ids(connection, search, k=k) == many[:k]
    by_score = search.replace("ORDER BY rank", "ORDER BY score DESC, id")
    if "quota" not in arguments:  # whose score is that of the place in a modality
        assert ids(connection, by_score, k=60) == many


@ARGUMENTS
def test_k_only_cuts_where_many_are_equal(
    connection: Connection, tied: Vectors, arguments: str
) -> None:
    check_prefixes(connection, arguments)


@ARGUMENTS
def test_k_only_cuts_where_a_few_are_equal(
    connection: Connection, space: Space, arguments: str
) -> None:
    """Three of each, as of files that lie in several folders."""
    random = np.random.default_rng(6)
    for first, modality in ((1, "text"), (100_001, "image")):
        vectors = unit_rows(np.repeat(random.normal(size=(500, 8)), 3, axis=0))
        store(connection, space, modality, vectors, first_source_id=first)
    connection.execute("UPDATE multimodal_items SET id = 1000000 + (id * 7919) % 99991")
    # Of each three in the first hundreds, for the filter.
    connection.execute("UPDATE multimodal_items SET metadata = '{\"tenth\": true}' WHERE part = 0")
    build_indexes(connection, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    store_queries(connection, space, unit_rows(random.normal(size=(1, 8))))
    check_prefixes(connection, arguments)


def test_of_equal_items_those_of_the_lowest_ids_come_first(
    connection: Connection, tied: Vectors
) -> None:
    lowest = ids(
        connection,
        "SELECT id FROM multimodal_items WHERE modality = 'image' ORDER BY "
        "(embedding <=> text_embedding('query 0')) + 0, id LIMIT 50",
    )
    found = "SELECT id FROM search_items('query 0', modality => '{image}', k => 50) ORDER BY rank"
    assert ids(connection, found) == lowest


def test_the_pages_of_the_query_library_hold_every_item_once(
    connection: Connection, tied: Vectors, url: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    text = NEXT_PAGE.read_text().replace("'a red bicycle'", "'query 0'")
    script = tmp_path / "pages.sql"
    script.write_text(re.sub(r"\\set (last_\w+|k) .*\n", "", text))
    distance, last, seen = "-1", "0", list[tuple[float, int]]()
    while True:
        done = subprocess.run(
            [server.binary("psql"), libpq_url(url), "-XAtqf", script, "-v", "k=150",
             "-v", f"last_distance={distance}", "-v", f"last_id={last}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        rows = [line.split("|") for line in done.stdout.splitlines()]
        if not rows:
            break
        seen += [(float(row[2]), int(row[0])) for row in rows]
        last, _, distance = rows[-1]
    assert len(seen) == len(set(seen))
    assert [item for distance, item in seen if distance == seen[0][0]] == ids(
        connection,
        "SELECT id FROM multimodal_items WHERE modality = 'image' ORDER BY "
        "(embedding <=> text_embedding('query 0')) + 0, id LIMIT %(n)s",
        n=EQUAL,
    )
    assert seen == sorted(seen)


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    engine = create_engine(url)
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_pages_of_the_select_builders_continue(tied: Vectors, session: Session) -> None:
    item = session.scalars(nearest_to(tied, modality="text").limit(1)).one().id
    for query in (nearest_to(tied, modality="image"), similar_to(item, modality="image")):
        whole = [found.id for found in session.scalars(query.limit(60))]
        pages = [
            found.id
            for start in range(0, 60, 20)
            for found in session.scalars(query.limit(20).offset(start))
        ]
        assert pages == whole == sorted(whole)
