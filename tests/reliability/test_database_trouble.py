"""The database goes and comes back; the worker waits, says so once, and loses nothing."""

import contextlib
import logging
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.embedded.processes import find_postmaster, send_signal, server_processes
from pipeline.postgres.reconnect import (
    CONFLICT_TRIES,
    Outage,
    ReconnectingConnection,
    Stopped,
    is_temporary,
)
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import database_url
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.proxy import Proxy, proxy_to
from tests.helpers.workers import assert_embedded_once, make_worker, running

TEXTS = [f"text number {n}" for n in range(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server of this module's own, to be killed: with fsync, as it runs outside of tests."""
    home = Path(tempfile.mkdtemp(prefix="pipeline-crash-"))
    home.chmod(0o755)
    server = EmbeddedServer(home / "home")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> str:
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE template_migrated")
    url = database_url(server.url(), "template_migrated")
    migrate.upgrade(url)
    with connect(url) as connection:
        spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
    return "template_migrated"


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    """Peer authentication does not pass a proxy's user, so the proxy is root, as the tests are."""
    with proxy_to(str(server.status().socket / ".s.PGSQL.5432")) as proxy:
        yield proxy


def slowly(_: Any) -> None:
    time.sleep(0.1)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@contextlib.contextmanager
def busy_worker(settings: Settings, space: Space, connection: Connection) -> Iterator[None]:
    """A worker in the middle of 120 rows; afterwards it goes on, and all of them are there."""
    add_texts(connection, TEXTS)
    url = settings.database_url
    assert url is not None
    settings = settings.model_copy(update={"claim_size": 16, "batch_size": 8, "lease_seconds": 3.0})
    worker = make_worker(settings, space, FakeEmbedder(before=slowly), once=False)
    with running(worker):
        wait_until(lambda: worker.report.done >= 8, "the first rows")
        yield
        wait_until(lambda: worker.report.done >= len(TEXTS) or is_done(settings), "the rest")


def is_done(settings: Settings) -> bool:
    assert settings.database_url is not None
    with (
        contextlib.suppress(DatabaseError),
        connect(settings.database_url.get_secret_value()) as connection,
    ):
        return connection.execute("SELECT 1 FROM ingest_jobs LIMIT 1").fetchone() is None
    return False


def test_terminated_backends_cost_one_line_and_no_row(
    settings: Settings,
    space: Space,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with busy_worker(settings, space, connection):
        connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name LIKE 'pipeline %' AND datname = current_database()
            """
        )
    assert_embedded_once(connection, TEXTS)
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith("lost the database")


def test_a_killed_and_restarted_postgresql_costs_one_line_and_no_row(
    server: EmbeddedServer,
    url: str,
    settings: Settings,
    space: Space,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with busy_worker(settings, space, connection):
        row = connection.execute("SELECT count(*) FROM multimodal_items").fetchone()
        assert row is not None
        data = server.status().data
        postmaster = find_postmaster(data)
        assert postmaster is not None
        for process in server_processes(data):
            send_signal(process, data, signal.SIGKILL)
        wait_until(lambda: not server_processes(data), "the end of the server")
        time.sleep(0.5)  # the worker meets a database that is not there
        server.start()
        with connect(url) as again:
            after = again.execute("SELECT count(*) FROM multimodal_items").fetchone()
            assert after is not None
            assert after[0] >= row[0]
    with connect(url) as again:
        assert_embedded_once(again, TEXTS)
    assert len(warnings(caplog)) == 1


def through(proxy: Proxy, settings: Settings, connection: Connection) -> Settings:
    """The same database by way of the proxy."""
    return settings.model_copy(
        update={"database_url": SecretStr(proxy.url(connection.info.dbname))}
    )


def test_a_cut_connection_costs_one_line_and_no_row(
    proxy: Proxy,
    settings: Settings,
    space: Space,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with busy_worker(through(proxy, settings, connection), space, connection):
        proxy.accepts = False
        proxy.cut()
        time.sleep(0.7)
        proxy.accepts = True
    assert_embedded_once(connection, TEXTS)
    assert len(warnings(caplog)) == 1


def test_a_deaf_connection_is_left_after_a_lease(
    proxy: Proxy,
    settings: Settings,
    space: Space,
    connection: Connection,
) -> None:
    with busy_worker(through(proxy, settings, connection), space, connection):
        proxy.go_deaf()
    assert_embedded_once(connection, TEXTS)


def test_a_slow_statement_is_no_deaf_connection(
    url: str, settings: Settings, space: Space, connection: Connection
) -> None:
    """One that waits for a lock longer than a lease goes on when it gets it."""
    pids: list[int] = []

    def work(c: Connection) -> None:
        pids.append(c.info.backend_pid)
        c.execute("SELECT pg_sleep(1.5)")

    lasting = ReconnectingConnection(url, "pipeline test", Outage(60, threading.Event()))
    thread = threading.Thread(target=lasting.run, args=(work,))
    thread.start()
    while thread.is_alive():
        lasting.cut_if_deaf(0.2)
        time.sleep(0.05)
    lasting.close()
    assert len(pids) == 1


class Impatient(threading.Event):
    """Nothing waits for it; it is set after so many waits, and knows how long they would be."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return len(self.waits) >= self.patience

    def assert_doubling_with_jitter(self, first: float, largest: float) -> None:
        nominal = [min(first * 2**n, largest) for n in range(len(self.waits))]
        assert all(n / 2 <= wait <= n for wait, n in zip(self.waits, nominal, strict=True))
        assert len({wait / n for wait, n in zip(self.waits, nominal, strict=True)}) > 6


def test_the_waits_between_attempts_double_with_jitter() -> None:
    stop = Impatient(12)
    lost = ReconnectingConnection(
        "postgresql://postgres@127.0.0.1:1/none", "pipeline test", Outage(3600, stop)
    )
    with pytest.raises(Stopped):
        lost.run(lambda c: None)
    assert len(stop.waits) == 12
    stop.assert_doubling_with_jitter(0.1, 10.0)


def conflict(connection: Connection) -> None:
    connection.execute("DO $$ BEGIN RAISE 'could not serialize' USING ERRCODE = '40001'; END $$")


def test_a_conflict_with_others_is_repeated_so_often_and_then_said(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Impatient(1000)
    attempts: list[int] = []

    def work(connection: Connection) -> None:
        attempts.append(connection.info.backend_pid)
        conflict(connection)

    lasting = ReconnectingConnection(url, "pipeline test", Outage(60, stop))
    with contextlib.closing(lasting), pytest.raises(psycopg.errors.SerializationFailure):
        lasting.run(work)
    assert attempts == [attempts[0]] * CONFLICT_TRIES  # by one connection, which is not lost
    assert len(stop.waits) == CONFLICT_TRIES - 1
    stop.assert_doubling_with_jitter(0.01, 1.0)
    assert warnings(caplog) == []


def test_a_worker_that_is_to_stop_does_not_wait_for_others(url: str) -> None:
    lasting = ReconnectingConnection(url, "pipeline test", Outage(60, stop := Impatient(2)))
    with contextlib.closing(lasting), pytest.raises(Stopped):
        lasting.run(conflict)
    assert len(stop.waits) == 2


def test_a_conflict_without_end_ends_the_worker_as_a_temporary_failure(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Its rows are neither lost nor failed, nor is an attempt counted: no row is to blame."""
    add_texts(connection, ["one", "two"])
    worker = make_worker(settings, space)
    worker._writer.finish = lambda c, *_: conflict(c)  # type: ignore
    with pytest.raises(DatabaseError, match="could not serialize") as caught:
        worker.run()
    assert is_temporary(caught.value)
    assert (
        connection.execute("SELECT state, attempts, error FROM ingest_jobs").fetchall()
        == [("pending", 0, None)] * 2
    )


def test_a_connection_out_of_step_is_replaced_and_a_mistake_is_not_repeated(
    settings: Settings,
) -> None:
    """The driver's own errors have no SQLSTATE; seen: two answers to a COMMIT behind PgBouncer."""
    assert settings.database_url is not None
    outage = Outage(60, threading.Event())
    lasting = ReconnectingConnection(settings.database_url.get_secret_value(), "test", outage)
    backends: list[int] = []

    def out_of_step_once(connection: Connection) -> int:
        backends.append(connection.info.backend_pid)
        if len(backends) == 1:
            raise psycopg.InternalError("received 2 results from command 'COMMIT'")
        return len(backends)

    def mistaken(connection: Connection) -> None:
        backends.append(connection.info.backend_pid)
        connection.execute("SELECT %s, %s", (1,))

    with contextlib.closing(lasting):
        assert lasting.run(out_of_step_once) == 2
        assert backends[0] != backends[1]
        with pytest.raises(psycopg.ProgrammingError):
            lasting.run(mistaken)
        assert backends[1:] == [backends[1], backends[1]]


def test_a_database_that_stays_away_ends_the_worker_after_its_patience(
    proxy: Proxy,
    settings: Settings,
    space: Space,
    connection: Connection,
    pipeline: Callable[..., Pipeline],
) -> None:
    add_texts(connection, TEXTS)
    run = pipeline(
        proxy.url(connection.info.dbname),
        "ingest",
        "--watch",
        faults={"delay": 0.2},
        outage_seconds=1.0,
    )
    wait_until(
        lambda: connection.execute("SELECT 1 FROM multimodal_items LIMIT 1").fetchone(), "a row"
    )
    proxy.accepts = False
    proxy.cut()
    assert run.wait() == 75
    assert sum("lost the database" in line for line in run.lines()) == 1
    assert any("stayed away for 1 s" in line for line in run.lines())
    proxy.accepts = True


def test_a_database_out_of_reach_is_a_temporary_failure_and_wrong_credentials_are_not(
    url: str,
    pipeline: Callable[..., Pipeline],
) -> None:
    assert pipeline("postgresql://postgres@127.0.0.1:1/none", "ingest").wait() == 75
    with pytest.raises(DatabaseError) as none_there:
        connect(url.replace("/reliability_test_database_trouble?", "/no_such_database?"))
    assert not is_temporary(none_there.value)


def test_jobs_without_a_notification_are_found_by_polling(
    settings: Settings, space: Space, connection: Connection
) -> None:
    worker = make_worker(settings, space, once=False)
    connection.execute("ALTER TABLE source_items DISABLE TRIGGER source_items_inserted")
    with running(worker):
        add_texts(connection, ["unannounced"])
        connection.execute(
            "INSERT INTO ingest_jobs (space_id, source_id) SELECT %s, id FROM source_items",
            (space.id,),
        )
        wait_until(lambda: worker.report.done == 1, "the row")
    connection.execute("ALTER TABLE source_items ENABLE TRIGGER source_items_inserted")


def test_a_notification_wakes_a_worker_that_polls_seldom(
    settings: Settings, space: Space, connection: Connection
) -> None:
    worker = make_worker(settings.model_copy(update={"poll_seconds": 3600.0}), space, once=False)
    with running(worker):
        wait_until(
            lambda: connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' "
                "AND datname = current_database()"
            ).fetchone(),
            "the worker to listen",
        )
        add_texts(connection, ["announced"])
        wait_until(lambda: worker.report.done == 1, "the row")
        wait_until(lambda: len(worker._in_flight) == 0, "the worker to wait again")
        time.sleep(0.5)  # for the claim that finds nothing; else it might find the row by itself
        connection.execute("UPDATE source_items SET content_ref = 'changed'")
        wait_until(lambda: worker.report.done == 2, "the changed row")
