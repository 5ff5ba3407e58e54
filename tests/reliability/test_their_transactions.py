"""An application's open transactions on rows that a worker holds: neither is in the other's way."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline import spaces
from pipeline.errors import TransientRowError
from pipeline.ingest import in_flight
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims, failures
from pipeline.queue.backoff import Backoff
from pipeline.queue.due import is_due
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.sources import rescan
from pipeline.sources.removal import Brake
from pipeline.spaces import Space
from pipeline.spaces.items import Writer, Written
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.workers import assert_embedded_once, make_worker, running
from tests.reliability.test_changes import finished
from tests.reliability.test_transactions import deadlocks


@pytest.fixture
def application(url: str) -> Iterator[Connection]:
    """A connection of the application's, in a transaction from its first statement on."""
    with contextlib.closing(connect(url, autocommit=False, role="application")) as application:
        yield application


@pytest.fixture
def impatient(url: str) -> Iterator[Connection]:
    """A connection of the worker's, on which no statement may wait for long."""
    with connect(url) as impatient:
        impatient.execute("SET statement_timeout = '10s'")
        yield impatient


def change(application: Connection, text: str) -> None:
    """By the trigger, this locks the row's job until the transaction ends."""
    application.execute(
        "UPDATE source_items SET content_ref = content_ref || '!' WHERE content_ref = %s", (text,)
    )


def states(connection: Connection) -> list[Any]:
    return connection.execute(
        "SELECT s.content_ref, j.state, j.attempts FROM ingest_jobs AS j "
        "JOIN source_items AS s ON s.id = j.source_id ORDER BY s.id"
    ).fetchall()


class Gate:
    """An embedder that waits before its first batch until it is let through."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.embedder = FakeEmbedder(before=self._wait)

    def _wait(self, _: Any) -> None:
        self.reached.set()
        assert self.open.wait(60)


# One statement.


def test_finishing_leaves_a_locked_row_for_later(
    connection: Connection, space: Space, application: Connection, impatient: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])
    jobs = claims.claim(connection, space.id, "me", 3, 60)
    change(application, "two")
    done = [finished(job) for job in jobs]
    assert Writer(space).finish(impatient, "me", done) == Written(2, 2)
    application.rollback()
    assert states(connection) == [("two", "running", 1)]
    assert Writer(space).finish(impatient, "me", done) == Written(1, 1)
    assert_embedded_once(connection, ["one", "two", "three"])


def test_failing_leaves_a_locked_row_for_later(
    connection: Connection, space: Space, application: Connection, impatient: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])
    jobs = claims.claim(connection, space.id, "me", 3, 60)
    change(application, "two")

    def fail() -> dict[int, str]:
        failed = [(job, TransientRowError("timeout", "no answer")) for job in jobs]
        return claims.fail(impatient, space.id, "me", failed, max_attempts=1, backoff=Backoff(1, 2))

    assert fail() == {jobs[0].source_id: "failed", jobs[2].source_id: "failed"}
    application.rollback()
    assert fail() == {jobs[1].source_id: "failed"}


@pytest.mark.parametrize("by_id", [True, False])
def test_releasing_leaves_a_locked_row_for_later(
    connection: Connection,
    space: Space,
    application: Connection,
    impatient: Connection,
    by_id: bool,
) -> None:
    add_texts(connection, ["one", "two", "three"])
    jobs = claims.claim(connection, space.id, "me", 3, 60)
    change(application, "two")
    ids = [job.source_id for job in jobs] if by_id else None
    assert claims.release(impatient, space.id, "me", ids) == 2
    application.rollback()
    assert claims.release(impatient, space.id, "me", ids) == 1
    assert [(state, attempts) for _, state, attempts in states(connection)] == [("pending", 0)] * 3


def test_no_statement_of_the_queue_waits_for_a_locked_row(
    connection: Connection, space: Space, application: Connection, impatient: Connection
) -> None:
    add_texts(connection, ["held", "due", "lapsed"])
    held, _ = (
        claims.claim(connection, space.id, "me", 1, 60)
        + claims.claim(connection, space.id, "gone", 2, -1)[1:]
    )
    claims.release(connection, space.id, "gone", [held.source_id + 1])
    application.execute("SELECT FROM ingest_jobs FOR UPDATE")
    assert claims.claim(impatient, space.id, "me", 10, 60) == []
    assert claims.heartbeat(impatient, space.id, "me", [held.source_id], 60) == 0
    assert sweep(impatient, 5) == 0
    assert is_due(impatient, space.id)


def test_a_retry_leaves_rows_that_an_application_is_changing(
    connection: Connection, space: Space, application: Connection, impatient: Connection
) -> None:
    """It holds one row while it comes to the next, as the application does, in another order."""
    add_texts(connection, ["one", "two"])
    connection.execute("UPDATE ingest_jobs SET state = 'failed', error_code = 'timeout'")
    change(application, "two")
    assert failures.retry(impatient, space_id=space.id) == 1
    change(application, "one")
    application.commit()
    assert [state for _, state, _ in states(connection)] == ["pending", "pending"]


def test_a_rescan_holds_no_row_while_it_waits_for_an_application(
    url: str, connection: Connection, space: Space, application: Connection, tmp_path: Any
) -> None:
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 't', n::text, 'image', '/' || n FROM generate_series(1, 2) AS n"
    )
    jobs = claims.claim(connection, space.id, "me", 2, 60)
    Writer(space).finish(connection, "me", [finished(job) for job in jobs])
    go_the_other_way(
        url,
        connection,
        application,
        ["/2", "/1"],
        lambda own: rescan.rescan(own, stat_anew, Brake(0.1)),
    )
    assert [state for _, state, _ in states(connection)] == ["pending", "pending"]


def stat_anew(_: str) -> dict[str, str]:
    return {"etag": "new"}


def test_filling_a_queue_holds_no_row_while_it_waits_for_an_application(
    url: str, connection: Connection, space: Space, application: Connection
) -> None:
    """As for a new space, while the application goes on changing rows."""
    texts = ["one", "two", "three"]
    add_texts(connection, texts)
    connection.execute("DELETE FROM ingest_jobs")
    added: list[int] = []
    go_the_other_way(
        url,
        connection,
        application,
        ["two", "one"],
        lambda own: added.append(spaces.enqueue_missing(own, space)),
    )
    assert added == [3]
    assert [state for _, state, _ in states(connection)] == ["pending"] * 3


def go_the_other_way(
    url: str,
    connection: Connection,
    application: Connection,
    texts: list[str],
    work: Callable[[Connection], Any],
) -> None:
    """The application changes the first text, ``work`` does the others, the application changes the
    second one and commits: neither fails."""
    before = deadlocks(connection)
    change(application, texts[0])
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with connect(url, role="the other way") as own:
                work(own)
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    is_done = (
        "SELECT 1 FROM ingest_jobs AS j JOIN source_items AS s ON s.id = j.source_id "
        "WHERE s.content_ref = %s"
    )
    wait_until(lambda: connection.execute(is_done, (texts[1],)).fetchone(), "the other rows")
    change(application, texts[1])
    application.commit()
    thread.join(60)
    assert errors == []
    assert deadlocks(connection) == before


# The worker.


@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_an_application_that_goes_the_other_way_never_loses(
    settings: Settings,
    space: Space,
    connection: Connection,
    application: Connection,
    seconds: float,
) -> None:
    """Between its two updates less, and more, than the server waits before it looks for a deadlock:
    with the one the worker lost, with the other the application."""
    add_texts(connection, ["one", "two"])
    gate, before = Gate(), deadlocks(connection)
    with running(make_worker(settings, space, gate.embedder, once=False)):
        assert gate.reached.wait(60)
        change(application, "two")
        gate.open.set()
        time.sleep(seconds)  # the worker has come to its write by now; if not, nothing is tested
        change(application, "one")
        application.commit()
        wait_until(lambda: states(connection) == [], "the rows")
    assert_embedded_once(connection, ["one!", "two!"])
    assert deadlocks(connection) == before


def test_an_open_transaction_on_one_row_delays_no_other(
    settings: Settings,
    space: Space,
    connection: Connection,
    application: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = [f"text number {n}" for n in range(300)]
    add_texts(connection, texts)
    gate = Gate()
    settings = settings.model_copy(update={"lease_seconds": 3600.0})
    caplog.set_level(logging.INFO)
    with running(make_worker(settings, space, gate.embedder, once=False)) as worker:
        assert gate.reached.wait(60)
        change(application, texts[0])
        gate.open.set()
        wait_until(lambda: worker.report.done == 299, "the other rows")
        add_texts(connection, later := ["later 1", "later 2"], source="later")
        wait_until(lambda: worker.report.done == 301, "rows that came later")
        assert states(connection) == [(texts[0], "running", 1)]
        application.rollback()
        # Not by its lease, which is long: by the worker that has embedded it.
        wait_until(lambda: states(connection) == [], "the row that was locked")
        wait_until(lambda: worker.report.done == 302, "the report")
    assert gate.embedder.embedded == 302
    assert_embedded_once(connection, [*texts, *later])
    assert "meanwhile" not in caplog.text  # it neither changed nor passed to somebody else


def test_a_row_that_changes_while_it_waits_is_embedded_as_it_is_then(
    settings: Settings, space: Space, connection: Connection, application: Connection
) -> None:
    add_texts(connection, ["one", "two"])
    gate = Gate()
    with running(make_worker(settings, space, gate.embedder, once=False)) as worker:
        assert gate.reached.wait(60)
        change(application, "one")
        gate.open.set()
        wait_until(lambda: worker.report.done == 1, "the other row")
        application.commit()
        wait_until(lambda: states(connection) == [], "the row that was locked")
    assert_embedded_once(connection, ["one!", "two"])


def test_locked_rows_leave_room_for_others(
    settings: Settings,
    space: Space,
    connection: Connection,
    application: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More of them than a worker has in flight, up to a bound; then it claims no more."""
    monkeypatch.setattr(in_flight, "MOST_SET_ASIDE", 100, raising=False)
    texts = [f"text number {n}" for n in range(200)]
    add_texts(connection, texts)
    gate = Gate()
    settings = settings.model_copy(update={"claim_size": 8, "lease_seconds": 3600.0})
    with running(make_worker(settings, space, gate.embedder, once=False)) as worker:
        assert gate.reached.wait(60)
        wait_until(lambda: len(worker._in_flight) >= 16, "all that it claims at once")
        application.execute("SELECT FROM ingest_jobs WHERE state = 'running' FOR UPDATE")
        locked = len(states_of(connection, "running"))
        gate.open.set()
        wait_until(lambda: worker.report.done == 200 - locked, "the other rows")
        assert len(states_of(connection, "running")) == locked
        application.rollback()
        wait_until(lambda: worker.report.done == 200, "the rows that were locked")
    assert_embedded_once(connection, texts)
    assert gate.embedder.embedded == 200


def states_of(connection: Connection, state: str) -> list[Any]:
    return [row for row in states(connection) if row[1] == state]


def test_what_a_locked_row_failed_of_is_recorded_when_it_is_free(
    settings: Settings, space: Space, connection: Connection, application: Connection
) -> None:
    add_texts(connection, ["one", " "])
    gate = Gate()
    prepared = threading.Event()
    embedder = gate.embedder
    original = embedder.split

    def split(text: str) -> Any:
        prepared.set()
        assert gate.open.wait(60)
        return original(text)

    embedder.split = split  # type: ignore[method-assign]
    with running(make_worker(settings, space, embedder, once=False)) as worker:
        assert prepared.wait(60)
        change(application, " ")
        gate.open.set()
        wait_until(lambda: worker.report.done == 1, "the other row")
        assert worker.report.failed == 0
        application.rollback()
        wait_until(lambda: worker.report.failed == 1, "the failure")
    assert states(connection) == [(" ", "failed", 1)]


def test_a_suspect_is_not_held_up_by_a_locked_row(
    settings: Settings, space: Space, connection: Connection, application: Connection
) -> None:
    """It is claimed alone, which a row that merely waits to be written does not hinder."""
    add_texts(connection, ["locked"])
    gate = Gate()
    settings = settings.model_copy(update={"lease_seconds": 3600.0})
    with running(make_worker(settings, space, gate.embedder, once=False)) as worker:
        assert gate.reached.wait(60)
        change(application, "locked")
        add_texts(connection, ["suspect"], source="suspect")
        connection.execute(
            "UPDATE ingest_jobs SET run_after = 'epoch', attempts = 2 WHERE state = 'pending'"
        )
        add_texts(connection, ["other"], source="other")
        gate.open.set()
        wait_until(lambda: worker.report.done == 2, "the suspect and the other row")
        assert states(connection) == [("locked", "running", 1)]
        application.rollback()
        wait_until(lambda: worker.report.done == 3, "the locked row")


# The end.


@pytest.mark.parametrize(
    "lock",
    [
        "UPDATE source_items SET metadata = '{\"a\": 1}' WHERE content_ref = 'text 1'",
        "TRUNCATE source_items",
        "LOCK TABLE multimodal_items",
    ],
)
def test_a_stopping_worker_does_not_outlast_its_grace_period_by_a_lock(
    url: str,
    connection: Connection,
    application: Connection,
    pipeline: Callable[..., Pipeline],
    lock: str,
) -> None:
    add_texts(connection, [f"text {n}" for n in range(40)])
    run = pipeline(
        url, "ingest", "--watch", faults={"delay": 0.5}, lease_seconds=3600, grace_seconds=2
    )
    wait_until(lambda: states_of(connection, "running"), "the claim")
    application.execute(lock)  # type: ignore[call-overload]
    run.signal(signal.SIGTERM)
    assert run.wait(25) == 0, run.lines()  # the transaction is open; see below how long it would be
    ours = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'pipeline %'"
    )
    # Nor does anything of it in the server, which would do its work when the lock is gone.
    wait_until(lambda: not connection.execute(ours).fetchall(), "the server to notice")
    application.rollback()
    row = connection.execute("SELECT count(*) FROM multimodal_items").fetchone()
    assert row is not None
    assert row[0] + len(states(connection)) == 40
