"""One key for query texts: what Python keeps, SQL finds, and the other way round."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from pipeline.errors import PermanentRowError
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.steps import on
from pipeline.search import asking, query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex
from pipeline.vectors import Vectors
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.spaces import fill
from tests.integration.test_serve import embedding, serving

# Cleaning changes each of these, so the key of the raw text is another than that of the cleaned.
ODD = ["  a red bicycle\n", "cafe\N{COMBINING ACUTE ACCENT}", "tab\tand\x07bell"]


def assert_close(found: Vectors | None, expected: Vectors) -> None:
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("text", ["a red bicycle", *ODD, "", "'", "%s"])
def test_the_key_is_the_hash_of_the_text_as_it_is(connection: Connection, text: str) -> None:
    row = connection.execute("SELECT query_key(%s)", (text,)).fetchone()
    assert row == (hashlib.sha256(text.encode()).digest(),)


@pytest.mark.parametrize("text", ODD)
def test_what_the_index_embeds_is_found_by_text_embedding(
    connection: Connection, settings: Settings, space: Space, text: str
) -> None:
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        vector = index.embed_query(text)
    assert_close(embedding(connection, text), vector)  # and nobody serves
    (row,) = connection.execute("SELECT query, query_key(query) = query_sha256 FROM "
                                "query_embeddings").fetchall()  # fmt: skip
    assert row == (text, True)


@pytest.mark.usefixtures("dblink")
@pytest.mark.parametrize("text", ODD)
def test_what_was_asked_for_in_sql_is_found_by_the_index(
    url: str, connection: Connection, settings: Settings, text: str
) -> None:
    model = FakeEmbedder()
    with serving(url, model):
        asked = embedding(connection, text)
    unused = FakeEmbedder()
    with UnifiedIndex(settings, unused) as index:
        assert_close(index.embed_query(text), asked)
    assert (model.embedded, unused.embedded) == (1, 0)


def test_the_vector_is_that_of_the_cleaned_text(settings: Settings, space: Space) -> None:
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        assert_close(index.embed_query("  one\n"), vector_of(b"one"))


@pytest.mark.parametrize(
    "text", ["a\0red bicycle, and a boat", "half a pair: \ud83d, in a sentence"]
)
def test_what_postgresql_cannot_hold_is_kept_cleaned(
    connection: Connection, settings: Settings, space: Space, text: str
) -> None:
    model = FakeEmbedder()
    with UnifiedIndex(settings, model) as index:
        first = index.embed_query(text)
        assert_close(index.embed_query(text), first)
    assert model.embedded == 1
    ((kept,),) = connection.execute("SELECT query FROM query_embeddings").fetchall()
    assert kept == query_vectors.asked(text) != text
    assert_close(embedding(connection, kept), first)


def test_what_is_no_text_is_not_kept(connection: Connection, settings: Settings) -> None:
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        for text in ("", " \n", "\0\0\0"):
            with pytest.raises(PermanentRowError):
                index.embed_query(text)
    assert connection.execute("SELECT count(*) FROM query_embeddings").fetchone() == (0,)


def test_a_text_that_is_kept_again_keeps_one_row_and_its_new_vector(
    connection: Connection, space: Space
) -> None:
    for content in (b"one", b"two"):
        query_vectors.store(connection, space.id, "text", vector_of(content))
    found = on(connection, asking.known(["text"]))
    assert found is not None
    assert_close(found[0], vector_of(b"two"))
    assert on(connection, asking.known(["another"])) is None
    row = connection.execute("SELECT count(*) FROM query_embeddings").fetchone()
    assert row == (1,)


def test_analysts_can_compute_a_key_but_read_no_query(connection: Connection) -> None:
    connection.execute("SET ROLE pipeline_analyst")
    connection.execute("SELECT query_key('x')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT query FROM query_embeddings")


@contextmanager
def loopback_without_connections(connection: Connection) -> Iterator[None]:
    (limit,) = fetch_one(
        connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'pipeline_loopback'")
    )
    connection.execute("ALTER ROLE pipeline_loopback CONNECTION LIMIT 0")
    try:
        yield
    finally:
        connection.execute(f"ALTER ROLE pipeline_loopback CONNECTION LIMIT {limit}".encode())


def noted_by_row(url: str, rows: int) -> int:
    """How often the loop-back was tried by two searches that ask for the vector row by row."""
    search = (
        "SELECT id FROM multimodal_items ORDER BY embedding <=> text_embedding('a red bicycle')"
    )
    with connect(url) as client:
        client.execute("SET track_functions = 'pl'")
        for _ in range(2):
            assert len(client.execute(search.encode()).fetchall()) == rows
        client.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT funcname, calls FROM pg_stat_user_functions"
        calls = dict(client.execute(query).fetchall())
    assert calls["text_embedding"] == 2 * rows
    return int(calls["touch_query_embeddings"])


@pytest.mark.usefixtures("dblink")
@pytest.mark.parametrize("loopback_works", [True, False])
def test_use_is_noted_once_where_no_index_serves(
    url: str, connection: Connection, settings: Settings, space: Space, loopback_works: bool
) -> None:
    """PostgreSQL then asks for the vector row by row, each with the statement's own snapshot."""
    texts = [f"text {n}" for n in range(30)]
    add_texts(connection, texts)
    fill(settings, space, FakeEmbedder())
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        index.embed_query("a red bicycle")
    connection.execute("UPDATE query_embeddings SET last_used_at = now() - interval '2 days'")
    with nullcontext() if loopback_works else loopback_without_connections(connection):
        attempts = noted_by_row(url, len(texts))
    assert attempts == (1 if loopback_works else 2)
    (age,) = fetch_one(connection.execute("SELECT now() - last_used_at FROM query_embeddings"))
    assert (age < timedelta(hours=1)) is loopback_works
