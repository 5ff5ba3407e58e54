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
