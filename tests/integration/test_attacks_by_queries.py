"""What statements of others' applications find odd: activations under way, keys that change, settings,
metadata that looks like ours."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space, activation
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
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
