"""`serve` and whoever asks it, by way of PgBouncer in transaction mode, where no lock outlives its
transaction and no notification arrives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.search.serve import QueryServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder, add_texts
from tests.helpers.images import sample
from tests.helpers.processes import wait_until
from tests.helpers.workers import work
from tests.integration.test_serve import serving
from tests.reliability.test_pgbouncer import bouncer, pytestmark, settings

__all__ = ["bouncer", "pytestmark", "settings"]

SERVED = "SELECT is_served(id) FROM embedding_spaces WHERE state = 'active'"


def is_served(connection: Connection) -> bool:
    row = connection.execute(SERVED).fetchone()
    return bool(row and row[0])


def url_of(settings: Settings) -> str:
    return Database.of(settings).url


@contextmanager
def nobody_loads() -> Iterator[None]:
    def refuse(dimensions: int) -> FakeEmbedder:
        raise AssertionError("a model was loaded although somebody serves")

    FAKE_FAMILY.make = refuse
    try:
        yield
    finally:
        FAKE_FAMILY.make = FakeEmbedder


def test_it_answers_texts_and_files_and_is_gone_when_it_ends(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["a boat"])
    assert work(settings, space).done == 1
    assert not is_served(connection)
    with nobody_loads(), serving(url_of(settings)) as server, UnifiedIndex(settings) as index:
        assert is_served(connection)
        assert index.retrieve_cross_modal("a boat", 1)[0].document.content_ref == "a boat"
        assert len(index.retrieve_cross_modal(sample(), 1)) == 1
    assert (server.report.answered, server.report.files) == (1, 1)
    assert not is_served(connection)  # at once, though the session lives on in the pool
    with connect(url_of(settings)) as through:
        assert not is_served(through)


def test_one_that_was_killed_is_gone_after_a_while(
    settings: Settings, connection: Connection, tmp_path: Path
) -> None:
    program = f"""
from tests.helpers.fakes import FakeEmbedder
from pipeline.search.serve import QueryServer
QueryServer({url_of(settings)!r}, lambda space: FakeEmbedder()).run()
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: is_served(connection), "the server")
        connection.execute("UPDATE query_servers SET seen_at = seen_at - interval '10 s'")
        wait_until(
            lambda: (
                connection.execute(
                    "SELECT clock_timestamp() - max(seen_at) < interval '5 s' FROM query_servers"
                ).fetchone()
                == (True,)
            ),
            "that it says so again",
        )
        assert is_served(connection)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    wait_until(lambda: not is_served(connection), "the end of what it said last")


def test_a_server_by_the_way_of_the_pooler_lets_go_of_no_lock_of_others(
    settings: Settings, connection: Connection
) -> None:
    """Its sessions are other clients' as well."""
    assert connection.execute("SELECT 1").fetchone() == (1,)
    with connect(url_of(settings)) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        server = QueryServer(url_of(settings), lambda _: FakeEmbedder())
        server.answer_once()
        locks = "SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND database = (" \
                "SELECT oid FROM pg_database WHERE datname = current_database())"  # fmt: skip
        assert connection.execute(locks).fetchall() == [(0, 77)]
        other.execute("SELECT pg_advisory_unlock_all()")
        server.stop()
        server.run()


def test_terminated_backends_cost_no_call(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["a boat"])
    assert work(settings, space).done == 1
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        for _ in range(3):
            assert len(index.retrieve_cross_modal("a boat", 1)) == 1
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_the_command_withdraws_what_it_said(
    settings: Settings, connection: Connection, how: str
) -> None:
    # Its helpers make the fake's family known.
    program = "import tests.helpers.fakes; from pipeline.cli import main; main(['serve'])"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "DATABASE_URL": url_of(settings)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "loading the model fake\n"
    assert process.stderr.readline() == "serving the space fake; stop with Ctrl-C\n"
    assert is_served(connection)
    process.send_signal(signal.Signals[how])
    assert process.wait(60) == 0
    assert not is_served(connection)
    process.stderr.close()
