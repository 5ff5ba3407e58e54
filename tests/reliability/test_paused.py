"""A space that is paused: nobody begins a row of it, nothing in hand is lost, all goes on after."""

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from pipeline.ingest.space_build import SpaceBuild
from pipeline.postgres.connections import Connection
from pipeline.queue import claims, given, pauses, status
from pipeline.settings import Settings
from pipeline.spaces import Space, get_space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.spaces import fake_ingest
from tests.helpers.workers import assert_embedded_once, make_worker, running

Start = Callable[..., Pipeline]
TEXTS = [f"text {n:03}" for n in range(40)]
LOADED = "loading the model"
OF_OTHERS = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
"""


@pytest.fixture(autouse=True)
def _resumed(connection: Connection) -> Iterator[None]:
    yield
    connection.execute("SELECT resume_space(name) FROM embedding_spaces")


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_a_scheduled_run_says_why_it_did_nothing_and_loads_no_model(
    url: str, connection: Connection, space: Space, pipeline: Start
) -> None:
    pauses.pause(connection, space.name, "the disk is nearly full")
    nothing_due = pipeline(url, "ingest", "--once")
    assert nothing_due.wait() == 0
    add_texts(connection, TEXTS)
    held = pipeline(url, "ingest", "--once")
    as_json = pipeline(url, "ingest", "--json")
    assert (held.wait(), as_json.wait()) == (75, 75)
    (line,) = held.lines()
    assert line.startswith("the space 'fake' is paused since ")
    assert line.endswith(
        " by postgres: the disk is nearly full; 40 rows wait for `pipeline space resume fake`"
    )
    report = json.loads(as_json.output.read_text())
    assert (report["held"], report["paused"]["by"], report["done"]) == (40, "postgres", 0)
    assert report["paused"]["why"] == "the disk is nearly full"
    assert [run.output.read_text() for run in (nothing_due, held)] == [
        "nothing due in the space fake\n",
        "",
    ]
    assert rows(connection, "SELECT DISTINCT state, attempts FROM ingest_jobs") == [("pending", 0)]
    pauses.resume(connection, space.name)
    done = pipeline(url, "ingest", "--once")
    assert done.wait() == 0
    assert LOADED in done.output.read_text()
    assert_embedded_once(connection, TEXTS)


def test_a_worker_that_starts_waits_without_a_model_until_it_is_told(
    url: str, connection: Connection, space: Space, pipeline: Start
) -> None:
    pauses.pause(connection, space.name)
    add_texts(connection, TEXTS)
    # So seldom that only a notification can be what wakes it.
    watching = pipeline(url, "ingest", "--watch", poll_seconds=3600)
    stopped = pipeline(url, "ingest", "--watch")
    for worker in (watching, stopped):
        wait_until(lambda worker=worker: worker.lines(), "that it says what it waits for")
        assert "waiting for `pipeline space resume fake`" in worker.lines()[0]
    stopped.signal(signal.SIGTERM)
    assert stopped.wait() == 0
    assert watching.output.read_text() == ""
    assert pauses.resume(connection, space.name)
    wait_until(lambda: not rows(connection, "SELECT FROM ingest_jobs"), "the rows")
    assert_embedded_once(connection, TEXTS)
    watching.signal(signal.SIGTERM)
    assert watching.wait() == 0


def test_a_worker_finishes_what_it_has_and_begins_nothing_more(
    url: str, connection: Connection, space: Space, pipeline: Start
) -> None:
    add_texts(connection, TEXTS)
    worker = pipeline(url, "ingest", "--watch", faults={"delay": 0.3}, claim_size=4, batch_size=4)
    wait_until(lambda: rows(connection, "SELECT FROM multimodal_items"), "the first rows")
    os.kill(worker.process.pid, signal.SIGSTOP)
    pauses.pause(connection, space.name)
    # A claim that was on its way is either done or, in an open transaction, holds its rows.
    wait_until(lambda: not rows(connection, OF_OTHERS), "the statements that were sent")
    untouched = rows(
        connection,
        "SELECT source_id FROM ingest_jobs WHERE state = 'pending' FOR UPDATE SKIP LOCKED",
    )
    assert untouched
    begun = {*rows(connection, "SELECT id FROM source_items")} - {*untouched}
    os.kill(worker.process.pid, signal.SIGCONT)
    wait_until(lambda: status.counts(connection, space.id).running == 0, "what is in hand")
    assert {*rows(connection, "SELECT source_id FROM multimodal_items")} == begun
    left = rows(connection, "SELECT DISTINCT state, attempts FROM ingest_jobs")
    assert left == [("pending", 0)]
    add_texts(connection, ["came meanwhile"], source="later")
    assert worker.is_running()
    pauses.resume(connection, space.name)
    wait_until(lambda: not rows(connection, "SELECT FROM ingest_jobs"), "the rest")
    assert_embedded_once(connection, [*TEXTS, "came meanwhile"])


def test_a_scheduled_run_that_is_paused_ends_with_what_it_has(
    settings: Settings, connection: Connection, space: Space
) -> None:
    add_texts(connection, TEXTS)
    settings = settings.model_copy(update={"claim_size": 4, "batch_size": 4})

    def pause(_: object) -> None:
        pauses.pause(connection, space.name)

    report = make_worker(settings, space, FakeEmbedder(before=pause)).run()
    counts = status.counts(connection, space.id)
    assert 0 < report.done < len(TEXTS)
    assert (counts.running, counts.due) == (0, len(TEXTS) - report.done)


def test_a_worker_of_the_release_before_is_held_by_the_database(
    connection: Connection, space: Space
) -> None:
    """Its statement is this one; what it does not do is look for pauses by itself."""
    add_texts(connection, TEXTS)
    pauses.pause(connection, space.name)
    assert claims.claim(connection, space.id, "an older worker", 10, 60) == []
    counts = status.counts(connection, space.id)
    assert (counts.pending, counts.running) == (len(TEXTS), 0)
    pauses.resume(connection, space.name)
    assert len(claims.claim(connection, space.id, "an older worker", 10, 60)) == 10


def test_what_was_claimed_before_is_renewed_given_back_and_fails_as_ever(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, TEXTS)
    jobs = claims.claim(connection, space.id, "w", 10, 60)
    pauses.pause(connection, space.name)
    ids = [job.source_id for job in jobs]
    assert claims.heartbeat(connection, space.id, "w", ids, 60) == 10
    assert claims.release(connection, space.id, "w") == 10
    assert status.counts(connection, space.id).due == len(TEXTS)


def test_answers_from_elsewhere_are_taken_while_workers_wait(
    connection: Connection, space: Space
) -> None:
    """Pause, export what waits, embed it on a cluster, import it."""
    add_texts(connection, TEXTS)
    pauses.pause(connection, space.name)
    wanted = [
        (int(a), int(b))  # type: ignore[call-overload]
        for a, b in rows(connection, "SELECT source_id, version FROM ingest_jobs")
    ]
    assert len(given.claim_given(connection, space.id, "import", wanted, 60)) == len(TEXTS)
    assert claims.release(connection, space.id, "import") == len(TEXTS)
    assert claims.claim(connection, space.id, "w", 10, 60) == []


def test_a_pause_is_of_one_space(connection: Connection, space: Space, settings: Settings) -> None:
    add_texts(connection, TEXTS)
    other = pauses.pause(connection, space.name, "first")
    again = pauses.pause(connection, space.name)
    assert again == other
    assert pauses.pause(connection, space.name, "second").why == "second"
    assert list(pauses.pauses(connection)) == [space.name]
    with running(make_worker(settings, space, once=False)):
        pauses.resume(connection, space.name)
        wait_until(lambda: not rows(connection, "SELECT FROM ingest_jobs"), "the rows")
    assert pauses.pauses(connection) == {}
    assert not pauses.resume(connection, space.name)


def test_a_build_waits_for_the_end_of_the_pause(
    url: str, connection: Connection, space: Space, settings: Settings
) -> None:
    from pipeline import spaces  # the module's database is shared: it is dropped below

    add_texts(connection, TEXTS)
    second = spaces.create(connection, "second", FakeEmbedder(12))
    try:
        pauses.pause(connection, "second")
        embedder = FakeEmbedder(12)
        build = SpaceBuild(settings, "second", run_ingest=fake_ingest(embedder))
        with running(build):  # type: ignore[arg-type]  # it runs and stops like a worker
            wait_until(lambda: _waits(connection), "that it waits")
            assert (embedder.embedded, status.counts(connection, second.id).pending) == (0, 40)
            pauses.resume(connection, "second")
            wait_until(lambda: embedder.embedded == len(TEXTS), "the build")
            wait_until(lambda: status.counts(connection, second.id).pending == 0, "its rows")
    finally:
        spaces.drop(connection, get_space(connection, "second"))


def _waits(connection: Connection) -> bool:
    """Whether some session listens, as one that waits does."""
    return bool(
        rows(
            connection,
            "SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()",
        )
    )
