"""Items that are as near come in the order of their ids: pages continue, and k only cuts."""

import csv
import io
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

LIBRARY = Path(__file__).parents[2] / "sql/queries"
LISTS = [
    "image_to_text", "like_item", "more_like_these", "next_page", "text_to_image",
    "unified_merge_append", "unlike_that",
]  # fmt: skip
EQUAL, OTHERS = 1397, 600


SHUFFLED, REVERSED = "1000000 + (id * 7919) % 99991", "1000000 - id"


def reindex(connection: Connection, space: Space) -> None:
    """Index what is there now, by one process.

    Where several build, or a vacuum took old versions of rows out of it, a node of few of the equal
    vectors may stay alone in the graph, and nothing then tells that there are more.
    """
    build_indexes(connection, space)
    connection.execute("SET max_parallel_maintenance_workers = 0")
    connection.execute("REINDEX TABLE multimodal_items")


def store_tied(connection: Connection, space: Space, new_id: str) -> Vectors:
    random = np.random.default_rng(5)
    same = vector_of(b"same")
    for first, modality in ((1, "text"), (100_001, "image")):
        vectors = np.concatenate([[same] * EQUAL, unit_rows(random.normal(size=(OTHERS, 8)))])
        store(connection, space, modality, vectors, first_source_id=first)
    connection.execute(f"UPDATE multimodal_items SET id = {new_id}".encode())
    reindex(connection, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    connection.execute("ANALYZE multimodal_items")
    store_queries(connection, space, np.stack([same, unit_rows(random.normal(size=(1, 8)))[0]]))
    return same


@pytest.fixture
def tied(connection: Connection, space: Space) -> Vectors:
    """Of each modality 1,397 equal vectors amid 600 others, indexed; their ids in no order."""
    return store_tied(connection, space, SHUFFLED)


def ids(connection: Connection, query: str, **values: Any) -> list[int]:
    return [row[0] for row in connection.execute(query.encode(), values).fetchall()]


ARGUMENTS = (
    "modality => '{image}'", "ranking => 'raw'", "ranking => 'calibrated'", "ranking => 'quota'",
    "modality => '{text}', min_similarity => -0.9",
    "modality => '{image}', filter => '{\"tenth\": true}'",
)  # fmt: skip


def check_prefixes(connection: Connection, arguments: str) -> None:
    """A smaller k gives the first of a larger one, which are in the order of score and id."""
    search = f"SELECT id FROM search_items('query 0', k => %(k)s, {arguments}) ORDER BY rank"
    many = ids(connection, search, k=60)
    assert len(many) == 60
    for k in (1, 10, 11, 37):
        assert ids(connection, search, k=k) == many[:k], (arguments, k)
    by_score = search.replace("ORDER BY rank", "ORDER BY score DESC, id")
    if "quota" not in arguments:  # whose score is that of the place in a modality
        assert ids(connection, by_score, k=60) == many, arguments


@pytest.mark.usefixtures("tied")
def test_k_only_cuts_where_many_are_equal(connection: Connection) -> None:
    for arguments in ARGUMENTS:
        check_prefixes(connection, arguments)


def test_k_only_cuts_where_a_few_are_equal(connection: Connection, space: Space) -> None:
    """Three of each, as of files that lie in several folders."""
    random = np.random.default_rng(6)
    for first, modality in ((1, "text"), (100_001, "image")):
        vectors = unit_rows(np.repeat(random.normal(size=(500, 8)), 3, axis=0))
        store(connection, space, modality, vectors, first_source_id=first)
    connection.execute("UPDATE multimodal_items SET id = 1000000 + (id * 7919) % 99991")
    # Of each three in the first hundreds, for the filter.
    connection.execute("UPDATE multimodal_items SET metadata = '{\"tenth\": true}' WHERE part = 0")
    reindex(connection, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    store_queries(connection, space, unit_rows(random.normal(size=(1, 8))))
    for arguments in ARGUMENTS:
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


def printed(program: Path, url: str, name: str, *, exact: bool = False, **given: Any) -> list[Any]:
    """The rows that psql prints of a file of the library, with the index or without it."""
    options = "-c enable_indexscan=off" if exact else "-c enable_seqscan=off"
    done = subprocess.run(
        [program, libpq_url(url), "-Xqf", LIBRARY / f"{name}.sql", "--csv",
         *(part for key, value in given.items() for part in ("-v", f"{key}={value}"))],
        env={"PGOPTIONS": options, "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.parametrize("new_id", [SHUFFLED, REVERSED], ids=["shuffled", "reversed"])
def test_the_pages_of_the_query_library_hold_every_item_once(
    connection: Connection, space: Space, url: str, server: EmbeddedServer, new_id: str
) -> None:
    """From the first page on, as the file finds it, to the end, with equal items in front."""
    store_tied(connection, space, new_id)
    after, seen = dict[str, str](), list[tuple[float, int]]()
    while rows := printed(server.binary("psql"), url, "next_page", query="query 0", k=150, **after):
        seen += [(float(row["distance"]), int(row["id"])) for row in rows]
        after = {"last_distance": rows[-1]["distance"], "last_id": rows[-1]["id"]}
    assert len(seen) == len(set(seen))
    assert [item for distance, item in seen if distance == seen[0][0]] == ids(
        connection,
        "SELECT id FROM multimodal_items WHERE modality = 'image' ORDER BY "
        "(embedding <=> text_embedding('query 0')) + 0, id LIMIT %(n)s",
        n=EQUAL,
    )
    assert seen == sorted(seen)


@pytest.mark.parametrize("new_id", [SHUFFLED, REVERSED], ids=["shuffled", "reversed"])
def test_lists_of_the_query_library_give_the_lowest_ids_of_equal_items(
    connection: Connection, space: Space, url: str, server: EmbeddedServer, new_id: str
) -> None:
    """As an exact search does: where they come first, and where others come before."""
    store_tied(connection, space, new_id)
    psql, wrong = server.binary("psql"), list[str]()
    item = ids(
        connection,
        "SELECT id FROM multimodal_items WHERE modality = 'image' "
        "ORDER BY (embedding <=> text_embedding('query 0')) + 0, id LIMIT 1",
    )
    given = dict.fromkeys(("item", "first", "second", "third"), item[0])
    for name in LISTS:
        for query, k in (("query 0", 10), ("query 0", 60), ("query 1", 1000)):
            texts = dict.fromkeys(("query", "like", "unlike"), query)
            found, exact = (
                [row["id"] for row in printed(psql, url, name, exact=exact, k=k, **texts, **given)]
                for exact in (False, True)
            )
            if found != exact:
                wrong.append(f"{name} of {query}, {k}")
    assert wrong == []


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
