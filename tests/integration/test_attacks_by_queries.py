"""What applications send: searches beside an activation, keys that change, metadata that looks like
ours, all that under settings of their own."""

import threading
import time
from typing import Any

import numpy as np
import psycopg
import pytest

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.sources.sync import sync
from pipeline.spaces import Space, activation
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.query_cache import remember
from tests.helpers.spaces import described
from tests.helpers.workers import work
from tests.integration.test_serve import serving


def test_new_texts_where_backslashes_are_escapes(url: str, connection: Connection) -> None:
    add_texts(connection, ["one"])
    connection.execute("SET standard_conforming_strings = off")
    with serving(url):
        for text in ("S", "one", r"C:\new\table's", '"'):
            row = connection.execute(
                "SELECT text_embedding(%s) = (text_embeddings(ARRAY[%s]))[1]", (text, text)
            ).fetchone()
            assert row == (True,), text
        with pytest.raises(psycopg.Error, match="the query is empty"):
            connection.execute("SELECT text_embedding(E' \\t\\n')")


Q_IDS = "SELECT source_id FROM multimodal_items ORDER BY 1"
Q_JOBS = "SELECT source_id, state FROM ingest_jobs ORDER BY 1"


def test_a_source_item_of_another_id_leaves_nothing_under_the_old_one(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one", "two", "three"])
    wider = spaces.create(connection, "wider", FakeEmbedder(16))
    for each in (space, wider):
        work(settings, each, FakeEmbedder(each.dimensions))
    moved = connection.execute(
        "UPDATE source_items SET id = DEFAULT WHERE content_ref <> 'two' RETURNING id"
    ).fetchall()
    assert connection.execute(Q_IDS).fetchall() == [(2,)]
    assert connection.execute(f"SELECT source_id FROM multimodal_items_text_s{wider.id}".encode()
                              ).fetchall() == [(2,)]  # fmt: skip
    assert connection.execute(Q_JOBS).fetchall() == [
        (source_id, "pending") for (source_id,) in moved for _ in range(2)
    ]
    work(settings, space)
    assert connection.execute(Q_IDS).fetchall() == [(2,), *moved]
    connection.execute("DELETE FROM source_items")
    assert connection.execute(Q_IDS).fetchall() == []
    assert connection.execute(Q_JOBS).fetchall() == []


def test_an_insert_opens_the_job_that_a_lost_row_left_under_its_id(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one", "  ", "three"])
    work(settings, space)  # the blank one fails
    connection.execute("UPDATE source_items SET content_ref = 'uno' WHERE id = 1")
    connection.execute("SET session_replication_role = replica")
    connection.execute("TRUNCATE source_items RESTART IDENTITY")
    connection.execute("RESET session_replication_role")
    assert connection.execute(Q_JOBS).fetchall() == [(1, "pending"), (2, "failed")]
    add_texts(connection, ["four", "five", "six"])
    assert connection.execute(Q_JOBS).fetchall() == [(n, "pending") for n in (1, 2, 3)]
    work(settings, space)
    rows = connection.execute(
        "SELECT content_ref FROM multimodal_items ORDER BY source_id"
    ).fetchall()
    assert rows == [("four",), ("five",), ("six",)]


class OtherModel(FakeEmbedder):
    """Of as many dimensions, and incomparable."""

    def __init__(self) -> None:
        super().__init__()
        described(self, model="fake:other", weights_sha256="fake-other")

    def embed(self, contents: list[bytes]) -> Any:
        return np.stack([vector_of(b"other " + content) for content in contents])


FRUITS = ["apple", "pear", "plum"]


@pytest.fixture
def other(connection: Connection, settings: Settings, space: Space) -> Space:
    """A complete space beside the active one, with its own vector of the query."""
    add_texts(connection, FRUITS)
    work(settings, space)
    built = spaces.create(connection, "other", OtherModel())
    work(settings, built, OtherModel())
    spaces.build_indexes(connection, built)
    for each, content in ((space, b"apple"), (built, b"other apple")):
        remember(connection, each, "apple", vector_of(content).tolist())
    return spaces.get_space(connection, "other")


# Each gives the similarity of the text "apple" to itself, 1 where all is of one space.
OF_ONE_SPACE = {
    "search_items": "SELECT max(similarity) FROM search_items('apple')",
    "hybrid_search": "SELECT max(similarity) FROM hybrid_search('apple', text_weight => 0)",
    "hybrid_search by words": "SELECT max(similarity) FROM hybrid_search('apple', "
    "vector_weight => 0, modality => '{text}')",
    "classify_items": "SELECT max(similarity) FROM "
    "classify_items('{apple}', template => '{}', modality => 'text')",
    "classify_items of some": "SELECT max(similarity) FROM "
    "classify_items('{apple}', template => '{}', items => "
    "ARRAY(SELECT id FROM multimodal_items))",
    "text_embedding": "SELECT max(1 - (embedding <=> text_embedding('apple'))) "
    "FROM multimodal_items",
    "text_embedding in a condition": "SELECT max(1 - (embedding <=> text_embedding('apple'))) "
    "FROM multimodal_items WHERE embedding = text_embedding('apple') OR modality = 'text'",
    "text_embeddings": "SELECT max(1 - (embedding <=> (text_embeddings('{apple}'))[1])) "
    "FROM multimodal_items",
    "near_duplicates": "SELECT 1 + 0 * count(*) FROM near_duplicates(modality => 'text')",
}
queries = pytest.mark.parametrize("query", OF_ONE_SPACE.values(), ids=OF_ONE_SPACE)


def similarity(connection: Connection, query: str) -> float:
    row = connection.execute(query.encode()).fetchone()
    return float(row[0]) if row else 0.0


@queries
def test_a_query_that_waits_for_an_activation_is_of_one_space(
    url: str, connection: Connection, other: Space, query: str
) -> None:
    found: list[float | psycopg.Error] = []

    def read() -> None:
        try:
            with connect(url) as own:
                found.append(similarity(own, query))
        except psycopg.Error as exc:
            found.append(exc)

    reader = threading.Thread(target=read, daemon=True)
    with connection.transaction():
        connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
        reader.start()
        with connect(url) as watcher:
            wait_for(watcher, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        activation._swap(connection, other, recreate=False)
    reader.join(60)
    assert found == [pytest.approx(1, abs=0.01)]


def wait_for(connection: Connection, condition: str) -> None:
    deadline = time.monotonic() + 60
    while connection.execute(condition.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


@queries
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_older_than_an_activation_is_refused(
    url: str, connection: Connection, other: Space, query: str, level: str
) -> None:
    with connect(url) as application:
        application.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        application.execute("SELECT count(*) FROM source_items")
        spaces.activate(connection, other)
        with pytest.raises(psycopg.errors.SerializationFailure, match="activated") as caught:
            application.execute(query.encode())
        assert "anew" in (caught.value.diag.message_hint or "")
        application.execute("ROLLBACK")
        application.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        assert similarity(application, query) == pytest.approx(1, abs=0.01)


@queries
def test_a_snapshot_from_before_there_and_back_is_good(
    url: str, connection: Connection, other: Space, query: str
) -> None:
    with connect(url) as application:
        application.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        application.execute("SELECT count(*) FROM source_items")
        spaces.activate(connection, other)
        spaces.rollback(connection)
        assert similarity(application, query) == pytest.approx(1, abs=0.01)


# What a user may write under the key where we note how a text was cut.
NOTES = [
    '{"end": "x", "start": "y"}',
    '{"end": 99999999999999999999, "start": 1e400}',
    '{"end": null, "start": 0}',
    '{"end": [1], "start": {}}',
    '{"end": 3, "start": -5}',
    '{"end": 1, "start": 3}',
    '{"end": 1, "start": 0}',
    '{"end": 1.5, "start": 0.5, "parts": 2}',
    "5",
    "[1]",
    "null",
    '"end"',
]
METADATA = [f'{{"_pipeline": {notes}}}' for notes in NOTES] + [
    '["_pipeline"]', '"_pipeline"', "5", "null", "[[1]]",
]  # fmt: skip


def test_notes_of_a_users_own_neither_stop_nor_fool_the_search_for_missed_changes(
    connection: Connection, settings: Settings, space: Space
) -> None:
    def store(texts: list[str], metadata: list[str]) -> None:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "SELECT 's', m.n || t, 'text', t || m.n, m.m::jsonb "
            "FROM unnest(%s::text[]) AS t, unnest(%s::text[]) WITH ORDINALITY AS m (m, n)",
            (texts, metadata),
        )

    def missed_by(change: str) -> list[int]:
        connection.execute("SET session_replication_role = replica")
        with connection.transaction(force_rollback=True):
            ids = connection.execute(change.encode()).fetchall()
            report = sync(connection, mend=False)
        connection.execute("RESET session_replication_role")
        assert (report.new, report.gone) == (0, 0)
        return [report.changed, len(ids)]

    long = " ".join(f"word{n}" for n in range(200))
    store(["short", " to be  cleaned "], METADATA)
    store([long, f" {long}\n"], METADATA[: len(NOTES)])
    work(settings, space)
    assert sync(connection, mend=False).changed == 0
    assert [c.ok for c in examine(settings) if c.name == "missed changes"] == [True]
    for change in (
        "UPDATE source_items SET content_ref = content_ref || 'x' RETURNING id",
        "UPDATE source_items SET content_ref = 'x' || content_ref RETURNING id",
        "UPDATE source_items SET metadata = '{\"a\": 1}' RETURNING id",
        # Of the short ones: under the long ones stand our notes, whatever the user's say.
        "UPDATE source_items SET metadata = '{}' WHERE char_length(content_ref) < 50 RETURNING id",
        'UPDATE source_items SET metadata = \'{"_pipeline": {"own": 2}}\' '
        "WHERE char_length(content_ref) < 50 RETURNING id",
    ):
        changed, updated = missed_by(change)
        assert changed == updated > 0, change
